"""Where a patch and a patch set were run: batches, columns and verdicts, of one's own project."""

import pytest

from db import session
from db.repositories import credentials
from tests.dashboard.test_pages import submit
from tests.fixtures.api import SERIES, in_process

pytestmark = pytest.mark.anyio

FIRST_FIVE = {"name": "Without the last", "patches": SERIES["patches"][:5]}


async def uses(http, address, **query):
    answer = await http.get(f"/api/v1/{address}/batches", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_patch_has_the_columns_that_contain_it_and_what_they_came_to(http, rows):
    code = await submit(http, rows.ready_for_seed_series())

    [use] = (await uses(http, "patches/parent-stop-bit"))["items"]

    assert use["code"] == code
    assert use["title"] == SERIES["name"]
    assert use["trace_count"] == 2
    labels = [column["label"] for column in use["columns"]]
    assert labels == ["1-3", "1-4", "1-5", "1-6"]
    third = use["columns"][0]
    assert third["patches"] == SERIES["patches"][:3]
    assert third["worst"] == "guest-visible-change"
    assert third["trace_name"] == "linux61-boot-1cpu"
    assert "32 accesses reached a wrong address" in third["reason"]
    assert sum(third["verdicts"].values()) == 2


async def test_a_patch_behind_the_prefix_of_every_column_was_not_run(http, rows):
    digests = rows.ready_for_seed_series()
    await submit(http, digests, FIRST_FIVE)

    assert (await uses(http, "patches/unsync-list-global"))["items"] == []
    assert len((await uses(http, "patches/zap-account"))["items"]) == 1


async def test_the_column_of_an_ablation_without_a_patch_is_no_use_of_it(http, rows):
    rows.register_simulator()
    digest = rows.add_trace("boot")
    body = {"name": "Two", "patches": ["zap-account", "cr4-posted"]}
    await submit(http, [digest], body, plan="ablation")

    [use] = (await uses(http, "patches/cr4-posted"))["items"]

    assert [column["label"] for column in use["columns"]] == ["Two", "without zap-account"]
    assert [column["patches"] for column in use["columns"]] == [
        ["zap-account", "cr4-posted"],
        ["cr4-posted"],
    ]


async def test_a_patch_set_has_its_own_batches_only_and_they_are_paged(http, rows):
    digests = rows.ready_for_seed_series()
    codes = [await submit(http, [digest]) for digest in digests]
    await submit(http, digests, FIRST_FIVE)
    patch_set = (await http.post("/api/v1/patch_sets", json=SERIES)).json()["id"]

    first = await uses(http, f"patch_sets/{patch_set}", limit=1)
    second = await uses(http, f"patch_sets/{patch_set}", limit=1, cursor=first["next_cursor"])

    assert [first["items"][0]["code"], second["items"][0]["code"]] == codes[::-1]
    assert second["next_cursor"] is None
    assert len(first["items"][0]["columns"]) == 7


async def test_another_project_sees_none_of_it(http, rows, site):
    await submit(http, rows.ready_for_seed_series())
    patch_set = (await http.post("/api/v1/patch_sets", json=SERIES)).json()["id"]
    other = rows.add_project("other")
    with session.transaction(rows.engine, other) as opened:
        _, secret = credentials.mint_token(opened, "theirs", scopes=["read"])

    async with in_process(site, secret) as theirs:
        assert (await uses(theirs, "patches/zap-account"))["items"] == []
        answer = await theirs.get(f"/api/v1/patch_sets/{patch_set}/batches")
        assert answer.status_code == 404
        found = await theirs.get("/api/v1/patch_sets", params={"q": "Series"})
        assert found.json()["items"] == []


async def test_what_is_none_is_not_found(http):
    assert (await http.get("/api/v1/patches/zap-acount/batches")).status_code == 404
    assert "did you mean zap-account" in (await http.get("/api/v1/patches/zap-acount")).text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (
            {"form_of": "cr4-posted", "merged": "true"},
            ["cr4-norole", "cr-reset-bits", "cr4-guest-flush"],
        ),
        ({"q": "can then NEVER change"}, ["cr4-posted"]),
        ({"author": "tosatti", "base": "kvm-2010-04", "merged": "true"}, ["write-lost-flush"]),
        ({"q": "nothing has this"}, []),
    ],
)
async def test_the_catalogue_is_searched_by_every_condition_at_once(http, query, found):
    answer = await http.get("/api/v1/patches", params=query)

    assert [patch["id"] for patch in answer.json()["items"]] == found


async def test_a_base_that_is_none_is_refused(http):
    answer = await http.get("/api/v1/patches", params={"base": "v2.6.35"})

    assert answer.status_code == 422
    assert "did you mean" in answer.text


async def test_a_patch_says_what_it_changes_what_was_said_and_how_to_run_it(http):
    patch = (await http.get("/api/v1/patches/cr4-posted")).json()

    assert "CR4.PGE can then never change" in patch["summary"]
    [change] = patch["changes"]
    assert change["answer"].endswith("and is not stored")
    assert patch["thread"]["said"][0]["mail"]["author"] == "Avi Kivity"
    assert patch["thread"]["said"][-1]["mail"] is None
    assert {form["id"] for form in patch["forms"]} >= {"cr4-store", "cr4-norole", "global-pages"}
    assert {"patch": "cr4-store", "knobs": ["cr4_write"]} in patch["conflicts"]
    needs = (await http.get("/api/v1/patches/zap-batch")).json()
    assert (needs["text"], needs["held_against"]) == (
        "zap-return-self+zap-batch",
        "zap-return-self",
    )


async def test_patch_sets_are_searched_by_name_patch_base_and_series(http):
    for body in (
        {"name": "Zap 100%", "patches": ["zap-account"], "series": "zap", "version": 1},
        {"name": "Zap again", "patches": ["zap-restart"], "series": "zap", "version": 2},
        {"name": "April", "base": "kvm-2010-04"},
    ):
        assert (await http.post("/api/v1/patch_sets", json=body)).status_code == 201

    async def names(**query):
        items = (await http.get("/api/v1/patch_sets", params=query)).json()["items"]
        return [item["name"] for item in items]

    assert await names(q="zap") == ["Zap again", "Zap 100%"]
    assert await names(q="100%") == ["Zap 100%"]
    assert await names(q="1_0") == []
    assert await names(patch="zap-restart") == ["Zap again"]
    assert await names(base="kvm-2010-04") == ["April"]
    assert await names(series="zap", q="again") == ["Zap again"]
