import csv
import io
from xml.etree import ElementTree

import pytest

from tests.builders import digest_of
from tests.fixtures.api import SERIES

pytestmark = pytest.mark.anyio

FORMS = {
    "json": "application/json",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "svg": "image/svg+xml",
}


@pytest.fixture
async def code(http, rows):
    digests = rows.ready_for_seed_series()
    row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    body = {"traces": digests, "patch_sets": [row["id"]], "plan": "series"}
    return (await http.post("/api/v1/batches", json=body)).json()["code"]


def path(code, form):
    return f"/api/v1/comparisons/{code}.{form}"


@pytest.mark.parametrize("form", FORMS)
async def test_every_form_has_its_type_and_its_etag(http, code, form):
    answer = await http.get(path(code, form))
    again = await http.get(path(code, form), headers={"if-none-match": answer.headers["etag"]})

    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == FORMS[form]
    assert again.status_code == 304


async def test_semantics_stand_before_speed_and_the_wrong_accesses_are_counted(http, code):
    document = (await http.get(f"/api/v1/comparisons/{code}")).json()

    workload, boot = document["comparisons"]
    verdicts = {column["label"]: column["verdict"]["name"] for column in boot["columns"]}
    assert verdicts == {
        "base, 1": "base",
        "1-2": "identical",
        "1-3": "guest-visible-change",
        "1-4, 1-5": "guest-visible-change",
        "1-6": "mixed-worse",
    }
    wrong = {row["name"]: row["values"] for row in boot["semantics"]}
    assert wrong["wrong_address"] == [0, 0, 32, 32, 0]
    assert wrong["missed_fault"] == [0, 0, 32, 32, 0]
    assert workload["trace"]["digest"] == digest_of("linux61-workload-1cpu")


async def test_columns_without_a_real_code_result_say_so(http, code):
    document = (await http.get(f"/api/v1/comparisons/{code}")).json()
    names = {
        column["label"]: column["golden_name"] for column in document["comparisons"][0]["columns"]
    }

    assert names["1-4, 1-5"] is None
    assert names["1-6"] == "series"
    assert "No real-code result exists" in (await http.get(path(code, "txt"))).text


async def test_the_text_fits_a_mail_and_ends_with_the_command(http, code):
    text = (await http.get(path(code, "txt"))).text

    assert max(map(len, text.splitlines())) <= 72
    assert "refault replay linux61-workload-1cpu.rft linux61-boot-1cpu.rft" in text
    assert digest_of("simulator")[:12] in text


async def test_another_base_turns_the_changes_round(http, code):
    document = (await http.get(f"/api/v1/comparisons/{code}", params={"base": 6})).json()
    columns = document["comparisons"][1]["columns"]
    exits = next(row for row in document["comparisons"][1]["counters"] if row["name"] == "exits")

    assert columns[0]["label"] == "1-6"
    assert exits["values"][:2] == [114347, 96185]
    assert exits["changes"][:2] == [0, 96185 - 114347]
    assert document["command"][4:6] == ["-v", "series"]


async def test_one_trace_alone_can_be_asked_for(http, code):
    params = {"trace": digest_of("linux61-boot-1cpu")}

    document = (await http.get(f"/api/v1/comparisons/{code}", params=params)).json()

    assert [entry["trace"]["name"] for entry in document["comparisons"]] == ["linux61-boot-1cpu"]


async def test_columns_can_be_chosen_and_ordered_while_the_verdict_stays_that_of_all(http, code):
    whole = (await http.get(f"/api/v1/comparisons/{code}")).json()
    some = (await http.get(f"/api/v1/comparisons/{code}?columns=6,3")).json()
    text = (await http.get(f"/api/v1/comparisons/{code}.txt?columns=6")).text

    for comparison in some["comparisons"]:
        assert [column["label"] for column in comparison["columns"]] == ["base", "1-6", "1-3"]
    assert some["verdict"] == whole["verdict"]
    assert some["overview"] == whole["overview"]
    assert "1-3" not in text.partition("Reproduce")[0].partition("trace")[2]


async def test_the_matrix_has_one_number_for_each_cell(http, code):
    document = (await http.get(f"/api/v1/comparisons/{code}")).json()

    boot = document["overview"]["traces"][1]
    assert boot["exits"] == [96185, 96185, 95952, 95952, 114347]
    assert boot["changes"] == [None, "0%", "-0.24%", "-0.24%", "+18.9%"]
    assert boot["wrong"] == [0, 0, 64, 64, 0]


async def test_the_csv_is_a_line_for_every_number(http, code):
    rows = list(csv.DictReader(io.StringIO((await http.get(path(code, "csv"))).text)))
    found = [
        row
        for row in rows
        if (row["trace"], row["column"], row["name"]) == ("linux61-boot-1cpu", "1-6", "exits")
    ]

    assert [row["value"] for row in found] == ["114347"]


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_drawing_is_svg_without_a_word_from_elsewhere(http, code, theme):
    answer = await http.get(path(code, "svg"), params={"theme": theme})
    tree = ElementTree.fromstring(answer.text)

    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    names = {element.tag.partition("}")[2] for element in tree.iter()}
    assert not names & {"script", "image", "foreignObject", "use"}
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"base": 7}, 422),
        ({"base": -1}, 422),
        ({"base": "x"}, 422),
        ({"trace": digest_of("nothing")}, 404),
        ({"theme": "pink"}, 422),
    ],
)
async def test_what_a_comparison_cannot_be_is_a_problem(http, code, params, status):
    answer = await http.get(path(code, "json"), params=params)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_form_that_does_not_exist_is_a_404_that_lists_those_that_do(http, code):
    answer = await http.get(path(code, "pdf"))

    assert answer.status_code == 404
    assert "json, txt, md, csv, svg" in answer.json()["detail"]


async def test_a_batch_without_results_compares_as_missing(http, rows):
    rows.register_simulator()
    row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    body = {"traces": [rows.add_trace("boot")], "patch_sets": [row["id"]], "plan": "series"}
    code = (await http.post("/api/v1/batches", json=body)).json()["code"]

    document = (await http.get(f"/api/v1/comparisons/{code}")).json()

    verdicts = {c["verdict"]["name"] for c in document["comparisons"][0]["columns"]}
    assert verdicts == {"missing"}
    for form in FORMS:
        assert (await http.get(path(code, form))).status_code == 200, form


async def test_the_document_says_which_patch_does_it_and_what_to_merge(http, code):
    document = (await http.get(f"/api/v1/comparisons/{code}")).json()

    assert document["answer"].startswith(
        "Patch 3 (parent-stop-bit) changes what the guest sees on linux61-boot-1cpu"
    )
    assert [(step["label"], step["merge"]) for step in document["steps"]] == [
        ("1", "no effect"),
        ("1-2", "no effect"),
        ("1-3", "do not"),
        ("1-4", "no effect"),
        ("1-5", "no effect"),
        ("1-6", "costs more"),
    ]
    assert document["steps"][2]["ended_by"] == "1-6"
    text = (await http.get(path(code, "txt"))).text
    assert "  1-3  patch 3 (parent-stop-bit): DO NOT; changes what the guest sees" in text
    assert max(map(len, text.splitlines())) <= 72
    page = (await http.get(f"/batches/{code}")).text
    assert "Do not merge patch 3 (parent-stop-bit): something goes wrong with it." in page


async def test_an_ablation_that_goes_wrong_without_a_patch_does_not_say_no(http, rows):
    """The whole series is sound; without its sixth patch the third one misleads the guest."""
    digests = rows.ready_for_seed_series()
    row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    body = {"traces": digests, "patch_sets": [row["id"]], "plan": "ablation"}
    batch = (await http.post("/api/v1/batches", json=body)).json()
    document = (await http.get(f"/api/v1/comparisons/{batch['code']}")).json()

    assert {step["is_removal"] for step in document["steps"]} == {True}
    assert document["answer"].startswith("The others need patch 6 (unsync-list-global)")
    # What is wrong is wrong without it; the whole only costs more than the rest of it.
    assert document["verdict"]["status"] == "mixed-worse"
    assert document["verdict"]["reasons"][0]["label"].startswith("Series of 12 April 2010 beside")


async def test_a_column_is_shown_by_what_its_own_batch_asked_for(http, rows):
    """Patch 1 changes no knob: whoever leaves it out gets the same machine, not its words."""
    digests = rows.ready_for_seed_series()
    first = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    await http.post(
        "/api/v1/batches",
        json={"traces": digests, "patch_sets": [first["id"]], "plan": "series"},
    )
    bare = (await http.post("/api/v1/patch_sets", json={"name": "bare", "patches": []})).json()
    alone = {"name": "p2", "patches": ["zap-account"]}
    second = (await http.post("/api/v1/patch_sets", json=alone)).json()
    sets = [bare["id"], second["id"]]
    batch = (
        await http.post("/api/v1/batches", json={"traces": digests, "patch_sets": sets})
    ).json()

    document = (await http.get(f"/api/v1/comparisons/{batch['code']}")).json()

    names = ["v2.6.34-pre", "v2.6.34-pre +zap-account"]
    assert [column["variant"]["name"] for column in document["batch"]["columns"]] == names
    columns = document["comparisons"][0]["columns"]
    assert [column["variant_names"] for column in columns] == [[name] for name in names]
