"""Patch sets named by notation, and bases: each has a page, stored or not."""

import pytest

from tests.dashboard.test_pages import HOSTILE, Page, submit
from tests.dashboard.test_patches import is_sound, links
from tests.fixtures.api import SERIES

pytestmark = pytest.mark.anyio


async def test_a_notation_has_a_page_that_says_what_it_is_and_how_to_run_it(http):
    page = Page(await http.get("/patch_sets/p2+p3,tlb=1,page-limit=400/64/32768"))

    await is_sound(http, page)
    assert "2 patches on v2.6.34-pre" in page.text
    assert "page limit 400 and 64 in turn" in page.text
    assert "zap-return-self" in page.text
    assert "No patch set of this project makes this machine yet" in page.text
    assert "Not in this project yet" in page.text
    assert "refault submit TRACE -p" in page.text


async def test_where_it_is_stored_and_was_run_it_leads_there(http, rows):
    code = await submit(http, rows.ready_for_seed_series())

    page = Page(await http.get("/patch_sets/p1+p2+p3+p4+p5+p6"))

    await is_sound(http, page)
    [stored] = {h for h in links(page) if h.startswith("/patch_sets/") and len(h) == 48}
    assert SERIES["name"] in Page(await http.get(stored)).text
    assert f"/batches/{code}" in links(page)
    assert SERIES["name"] in page.text
    # A prefix is the same machine as the notation of it.
    third = Page(await http.get("/patch_sets/p1+p2+p3"))
    assert f"/batches/{code}" in links(third)
    assert "32 accesses reached a wrong address" in third.text


async def test_the_list_opens_a_notation(http):
    answer = await http.get("/patch_sets", params={"notation": "p3,page-limit=1/2/3"})
    assert answer.status_code == 303
    page = Page(await http.get(answer.headers["location"]))
    assert "page limit 1 and 2 in turn" in page.text


@pytest.mark.parametrize("text", ["nonsense", "p3,tlb=x", "p3+p3", "kernel:nobody", "x" * 3000])
async def test_what_names_nothing_is_404_and_says_why(http, text):
    answer = await http.get(f"/patch_sets/{text}")
    assert answer.status_code == 404
    assert "patch" in Page(answer).text


async def test_a_hostile_notation_is_no_markup(http):
    answer = await http.get("/patch_sets", params={"notation": HOSTILE[:100]})
    shown = await http.get(answer.headers["location"])
    assert shown.status_code == 404
    assert [tag for tag in Page(shown).all("script") if "src" not in tag] == []


@pytest.mark.parametrize("base", ["v2.6.34-pre", "walk"])
async def test_every_base_has_a_page(http, rows, base):
    code = await submit(http, rows.ready_for_seed_series())

    page = Page(await http.get(f"/bases/{base}"))

    ids = [tag["id"] for _, tag in page.tags if "id" in tag]
    assert len(ids) == len(set(ids))
    assert len(page.all("table")) == len(page.all("caption"))
    assert f"refault submit TRACE -p {base} --wait" in page.text
    if base == "walk":
        assert "The architecture alone, without KVM" in page.text
        return
    assert "Linux 2.6.34 without patch 2 of the series" in page.text
    assert f"/batches/{code}" in links(page)
    assert "/patches/cr4-posted" in links(page)
    assert "How it behaves" in page.text


async def test_an_unknown_base_is_404_and_names_the_others(http):
    answer = await http.get("/bases/v9.9")
    assert answer.status_code == 404
    assert "v2.6.34-pre" in Page(answer).text


async def test_the_batches_of_a_patch_have_their_titles(http, rows):
    await submit(http, rows.ready_for_seed_series())
    page = Page(await http.get("/patches/parent-stop-bit"))
    assert SERIES["name"] in page.text.partition("Where it was run")[2].partition("Run it")[0]
