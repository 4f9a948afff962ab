"""Columns of several batches in one comparison: GET /api/v1/comparisons?column=…"""

import pytest

from db.repositories import simulators
from refault import catalogue
from tests.builders import digest_of, transaction
from tests.fixtures.api import SERIES, SIMULATOR, bearer

pytestmark = pytest.mark.anyio

PATH = "/api/v1/comparisons"


async def submit(http, digests, plan="series", body=SERIES):
    row = (await http.post("/api/v1/patch_sets", json=body)).json()
    batch = {"traces": digests, "patch_sets": [row["id"]], "plan": plan}
    return (await http.post("/api/v1/batches", json=batch)).json()["code"]


@pytest.fixture
async def codes(http, rows):
    """A batch with every prefix of the series on two traces, and one with the whole on one."""
    digests = rows.ready_for_seed_series()
    base = {"name": "alone", "patches": list(catalogue.SEED_SERIES)}
    return await submit(http, digests), await submit(http, digests[1:], "each", base)


async def asked(http, *names, **params):
    return await http.get(PATH, params={"column": list(names), **params})


async def test_columns_of_two_batches_stand_side_by_side_on_their_common_traces(http, codes):
    series, alone = codes

    document = (await asked(http, f"{series}:0", f"{series}:3", f"{alone}:0")).json()

    (comparison,) = document["comparisons"]
    assert comparison["trace"]["name"] == "linux61-boot-1cpu"
    assert [column["label"] for column in comparison["columns"]] == [
        f"base ({series})",
        f"1-3 ({series})",
        f"alone ({alone})",
    ]
    exits = next(row for row in comparison["counters"] if row["name"] == "exits")
    assert exits["values"] == [96185, 95952, 114347]
    assert document["overview"]["traces"][0]["verdicts"] == [
        "base",
        "guest-visible-change",
        comparison["columns"][2]["verdict"]["name"],
    ]
    assert [left["reason"] for left in document["traces_left_out"]] == [f"only in {series}"]
    assert document["verdict"]["status"] == "guest-visible-change"


async def test_any_column_can_be_the_base(http, codes):
    series, alone = codes

    document = (await asked(http, f"{series}:0", f"{alone}:0", base=1)).json()

    (comparison,) = document["comparisons"]
    assert comparison["columns"][0]["label"] == f"alone ({alone})"
    exits = next(row for row in comparison["counters"] if row["name"] == "exits")
    assert exits["percents"] == ["0%", "-15.9%"]


async def test_one_variant_of_two_batches_is_one_column_with_both_names(http, codes):
    series, alone = codes

    document = (await asked(http, f"{series}:0", f"{series}:6", f"{alone}:0")).json()

    labels = [column["labels"] for column in document["overview"]["columns"]]
    assert labels == [[f"base ({series})"], [f"1-6 ({series})", f"alone ({alone})"]]


async def test_the_mean_over_traces_names_the_best_and_the_worst(http, codes):
    document = (await asked(http, f"{codes[0]}:0", f"{codes[0]}:6")).json()

    none, mean = document["overview"]["means"]
    assert none is None
    assert mean["trace_count"] == 2
    assert mean["best"] == {"trace": "linux61-workload-1cpu", "ratio": 48272 / 47334}
    assert mean["worst"] == {"trace": "linux61-boot-1cpu", "ratio": 114347 / 96185}
    assert mean["best"]["ratio"] < mean["ratio"] < mean["worst"]["ratio"]


async def test_results_of_another_version_of_the_engine_are_left_out_by_name(http, rows, codes):
    newer = digest_of("a newer simulator")
    with transaction(rows.engine) as session:
        simulators.register(
            session,
            name="newer",
            simulators={"shadow": newer},
            semantics_version=1,
            host="h",
            pid=2,
        )
    later = await submit(http, [digest_of("linux61-boot-1cpu")])

    document = (await asked(http, f"{codes[0]}:0", f"{later}:2")).json()

    (left,) = document["left_out"]
    assert left["name"] == f"{later}:2"
    assert f"shadow {newer[:12]}" in left["reason"]
    assert SIMULATOR[:12] in left["reason"]
    assert [len(each["columns"]) for each in document["comparisons"]] == [1, 1]
    assert document["is_stale"] is True


@pytest.mark.parametrize("form", ["txt", "md", "csv", "json", "svg"])
async def test_it_comes_in_every_form(http, codes, form):
    params = {"column": [f"{codes[0]}:0", f"{codes[1]}:0"]}

    answer = await http.get(f"{PATH}.{form}", params=params)

    assert answer.status_code == 200
    assert answer.headers["etag"]
    assert "alone" in answer.text


@pytest.mark.parametrize(
    ("names", "params", "status", "words"),
    [
        ([], {}, 422, "column"),
        (["{0}"], {}, 422, "expected a batch and the index of a column"),
        (["{0}:9"], {}, 422, "has 7 columns"),
        (["b-none:0"], {}, 404, "no batch b-none"),
        (["{0}:0"], {"base": 1}, 422, "base column 1 does not exist"),
        (["{0}:0"], {"trace": "0" * 64}, 422, "no trace"),
        (["{0}:0"], {"columns": "4"}, 422, "column 4 does not exist"),
    ],
)
async def test_what_cannot_be_compared_is_a_problem_that_says_why(
    http, codes, names, params, status, words
):
    answer = await asked(http, *(name.format(*codes) for name in names), **params)

    assert answer.status_code == status
    assert words in answer.text


async def test_batches_without_a_common_trace_cannot_be_compared(http, rows, codes):
    other = await submit(http, [rows.add_trace("another")])

    answer = await asked(http, f"{codes[0]}:0", f"{other}:0")

    assert answer.status_code == 422
    assert f"no trace is in all of {codes[0]}, {other}" in answer.text


async def test_another_project_has_none_of_these_columns(http, rows, codes):
    stranger = bearer(rows.mint_token(project=rows.add_project("others")))

    answer = await http.get(PATH, params={"column": f"{codes[0]}:0"}, headers=stranger)

    assert answer.status_code == 404


async def test_a_column_that_is_named_twice_moves_no_other_columns_index(http, codes):
    series, alone = codes
    names = (f"{series}:0", f"{series}:0", f"{series}:3", f"{alone}:0")

    based = (await asked(http, *names, base=3)).json()
    chosen = (await asked(http, *names, columns="3")).json()
    beyond = await asked(http, *names, base=4)

    assert based["comparisons"][0]["columns"][0]["label"] == f"alone ({alone})"
    assert [each["label"] for each in chosen["comparisons"][0]["columns"]] == [
        f"base ({series})",
        f"alone ({alone})",
    ]
    assert "base column 4 does not exist; the 4 columns count from 0" in beyond.json()["detail"]


async def test_a_series_and_single_patches_have_the_four_columns_of_an_interaction(http, rows):
    digests = rows.ready_for_seed_series()
    series = await submit(http, digests)
    alone = {"name": "alone", "patches": ["zap-account", "cr4-posted"]}
    both = {"name": "both", "patches": ["zap-account", "parent-stop-bit", "cr4-posted"]}
    one = await submit(http, digests, "each", alone)
    two = await submit(http, digests, "each", both)
    prefixes = {"name": "short", "patches": ["zap-account", "parent-stop-bit"]}
    short = await submit(http, digests, "series", prefixes)

    names = (f"{short}:1", f"{short}:2", f"{one}:0", f"{two}:0")
    document = (await asked(http, *names)).json()
    own = (await http.get(f"/api/v1/comparisons/{series}")).json()

    (found,) = document["interactions"]
    assert (found["one"], found["other"]) == ("parent-stop-bit", "cr4-posted")
    assert {name: each["label"] for name, each in found["columns"].items()} == {
        "base": f"1 ({short})",
        "one": f"1-2 ({short})",
        "other": f"alone ({one})",
        "both": f"both ({two})",
    }
    assert own["interactions"] == []
