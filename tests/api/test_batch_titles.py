"""Titles of batches: given, found, shown in every form, changed by their makers."""

import pytest

from tests.fixtures.api import SERIES, bearer, in_process

pytestmark = pytest.mark.anyio

BATCHES = "/api/v1/batches"


async def submit(http, rows, **given):
    rows.register_simulator()
    chosen = (await http.post("/api/v1/patch_sets", json=SERIES)).json()["id"]
    body = {"traces": [rows.add_trace("boot")], "patch_sets": [chosen], "plan": "series"}
    return await http.post(BATCHES, json=body | given)


async def test_a_title_is_given_shown_and_found(http, rows):
    answer = await submit(http, rows, title="  v3 on the big guests ")
    assert answer.status_code == 201, answer.text
    code = answer.json()["code"]

    found = (await http.get(BATCHES, params={"q": "BIG guests"})).json()["items"]
    assert [(each["code"], each["title"]) for each in found] == [(code, "v3 on the big guests")]
    assert (await http.get(BATCHES, params={"q": "small"})).json()["items"] == []
    assert (await http.get(f"{BATCHES}/{code}")).json()["title"] == "v3 on the big guests"
    for form in ("txt", "md"):
        text = (await http.get(f"/api/v1/comparisons/{code}.{form}")).text
        assert f"v3 on the big guests: batch {code}" in text


async def test_without_one_a_batch_is_called_by_its_patch_sets(http, rows):
    code = (await submit(http, rows)).json()["code"]
    assert (await http.get(f"{BATCHES}/{code}")).json()["title"] == ""
    assert SERIES["name"] in (await http.get(f"/api/v1/comparisons/{code}.txt")).text


async def test_a_matrix_without_one_is_called_by_what_it_does(http, rows):
    axes = {"base": ["v2.6.34-pre"], "page_limit": [512, 4096]}
    code = (await submit(http, rows, plan="matrix", axes=axes)).json()["code"]
    told = f"{SERIES['name']}, setting by setting: batch {code}"
    assert told in (await http.get(f"/api/v1/comparisons/{code}.txt")).text


@pytest.mark.parametrize("title", ["x" * 201, "two\nlines", "\u202e", 7])
async def test_a_title_that_is_none_is_refused_with_its_place(http, rows, title):
    for answer in (
        await submit(http, rows, title=title),
        await http.patch(
            f"{BATCHES}/{(await submit(http, rows)).json()['code']}", json={"title": title}
        ),
    ):
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == "/title"


async def test_its_maker_changes_a_title_and_a_maintainer_any(http, site, rows):
    mine = rows.mint_token(["read", "submit"])
    other = rows.mint_token(["read", "submit"])
    async with in_process(site, mine) as maker:
        code = (await submit(maker, rows)).json()["code"]
        first = await maker.patch(f"{BATCHES}/{code}", json={"title": "mine"})
        refused = await maker.patch(
            f"{BATCHES}/{code}", json={"title": "not mine"}, headers=bearer(other)
        )
    last = await http.patch(f"{BATCHES}/{code}", json={"title": ""})
    lost = await http.patch(f"{BATCHES}/b-none", json={"title": ""})

    assert (first.status_code, first.json()["title"]) == (200, "mine")
    assert refused.status_code == 403
    assert (last.status_code, last.json()["title"]) == (200, "")
    assert lost.status_code == 404
