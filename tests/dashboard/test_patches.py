"""The pages of the catalogue and of patch sets."""

import re

import pytest

from tests.dashboard.test_pages import HOSTILE, Page, submit
from tests.fixtures.api import SERIES, in_process

pytestmark = pytest.mark.anyio


def links(page):
    return [tag["href"] for tag in page.all("a")]


async def is_sound(http, page):
    """Ids once, anchors that lead somewhere, tables with captions and heads with a scope."""
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {href for href in links(page) if href.startswith("#")} <= {f"#{name}" for name in ids}
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(head.get("scope") for head in page.all("th"))
    inner = {href for href in links(page) if re.match(r"/(patches|patch_sets|api|batches)", href)}
    for href in inner:
        answer = await http.get(href, follow_redirects=True)
        assert answer.status_code == 200, href


async def test_the_catalogue_lists_every_patch_with_author_date_and_fate(http):
    page = Page(await http.get("/patches"))

    assert "44 of 44 patches" in page.text
    assert "cr4-posted [PATCH 4/6] KVM MMU: optimize for writing cr4 Xiao Guangrong" in page.text
    assert "2010-04-12" in page.text
    assert "Merged: 87bc3bf972a (2.6.35-rc1)." in page.text
    assert "kvm.git of 12 April 2010, against which the series was written" in page.text
    assert {"/patches", "/patch_sets", "/patches/cr4-posted"} <= set(links(page))


async def test_search_and_facets_stand_in_the_address_and_in_the_form(http):
    address = "/patches?q=cr4&form_of=cr4-posted&merged=true&author=&base=v2.6.34-pre"
    page = Page(await http.get(address))

    assert "3 of 44 patches" in page.text
    assert "cr-reset-bits" in page.text
    chosen = [tag["value"] for tag in page.all("option") if "selected" in tag and "value" in tag]
    assert chosen == ["v2.6.34-pre", "cr4-posted", "true"]
    [data] = [href for href in links(page) if href.startswith("/patches.json?")]
    found = (await http.get(data, follow_redirects=True)).json()["items"]
    assert [patch["id"] for patch in found] == ["cr4-norole", "cr-reset-bits", "cr4-guest-flush"]
    nothing = Page(await http.get("/patches", params={"q": HOSTILE}))
    assert "No patch of the catalogue is so" in nothing.text
    assert [tag for tag in nothing.all("script") if "src" not in tag] == []
    assert (await http.get("/patches?merged=perhaps")).status_code == 422
    assert (await http.get("/patches?base=v9.9")).status_code == 422


async def test_patch_4_says_that_pge_can_never_change_and_who_said_what(http):
    page = Page(await http.get("/patches/cr4-posted"))

    assert "As posted it returns before the new value is stored: CR4.PGE can then never change" in (
        page.text
    )
    assert "Avi Kivity, 2010-04-12, 11:42 pm" in page.text
    assert "The fast path returns before the new value is stored." in page.text
    assert "Nobody said so then" in page.text
    assert "a change of PGE syncs and flushes, and is not stored" in page.text
    assert "refault replay TRACE.rft -v v2.6.34-pre -v cr4-posted" in page.text
    assert "/help#F-P2" in links(page)
    assert "/patches/cr4-store" in links(page)
    assert "Not in this project yet" in page.text
    await is_sound(http, page)


async def test_sizes_requirements_and_reasons_against_a_base_are_told(http):
    flags = Page(await http.get("/patches/sp-bool")).text
    batch = Page(await http.get("/patches/zap-batch")).text
    prefetch = Page(await http.get("/patches/pte-prefetch")).text

    assert "Size of struct kvm_mmu_page" in flags.replace("  ", " ")
    assert "No behaviour: a column with it is the same machine" in flags
    assert "Requires zap-return-self" in batch
    assert "Not on v2.6.34-pre direct pages below a large guest page" in prefetch
    assert "-v v2.6.35.6 -v v2.6.35.6+pte-prefetch" in prefetch


async def test_a_patch_shows_where_it_was_run_and_what_it_did(http, rows):
    code = await submit(http, rows.ready_for_seed_series())
    page = Page(await http.get("/patches/parent-stop-bit"))

    assert f"/batches/{code}" in links(page)
    assert "linux61-boot-1cpu: 32 accesses reached a wrong address" in page.text
    assert "✕ Guest sees a change on 1 trace" in page.text
    await is_sound(http, page)


async def test_a_patch_set_is_a_tree_with_alternatives_versions_and_batches(http, rows):
    digests = rows.ready_for_seed_series()
    first = {**SERIES, "series": "April", "version": 1}
    code = await submit(http, digests, first)
    second = {"name": "Reworked", "patches": ["zap-restart"], "series": "April", "version": 2}
    assert (await http.post("/api/v1/patch_sets", json=second)).status_code == 201
    patch_set = (await http.post("/api/v1/patch_sets", json=first)).json()["id"]

    page = Page(await http.get(f"/patch_sets/{patch_set}"))

    places = [
        page.text.index(f"{number} {patch}") for number, patch in enumerate(SERIES["patches"], 1)
    ]
    assert places == sorted(places)
    assert "base v2.6.34-pre" in page.text
    assert "/patches/cr4-norole" in links(page)
    assert "v1 Series of 12 April 2010" in page.text
    assert "v2 Reworked" in page.text
    assert f"/batches/{code}" in links(page)
    assert f"refault submit TRACE -s {patch_set} --plan series --wait" in page.text
    await is_sound(http, page)
    column = Page(await http.get(f"/batches/{code}"))
    assert f"/patch_sets/{patch_set}" in links(column)


async def test_the_list_of_patch_sets_is_searched_paged_and_escaped(http):
    for name in ("Zap", HOSTILE):
        body = {"name": name, "patches": ["zap-account"]}
        assert (await http.post("/api/v1/patch_sets", json=body)).status_code == 201

    page = Page(await http.get("/patch_sets"))
    one = Page(await http.get("/patch_sets?q=zap&patch=zap-account&base=v2.6.34-pre"))

    assert HOSTILE in page.text
    assert [tag for tag in page.all("script") if "src" not in tag] == []
    assert "Zap" in one.text
    assert "evil" not in one.text
    await is_sound(http, page)
    assert "No patch set is so" in Page(await http.get("/patch_sets?base=none")).text


async def test_the_pages_need_a_login_and_what_is_none_is_not_found(http, site):
    async with in_process(site) as stranger:
        for address in ("/patches", "/patches/zap-account", "/patch_sets"):
            asked = await stranger.get(address, follow_redirects=False)
            assert asked.headers["location"].startswith("/login"), address
    assert (await http.get("/patches/zap-acount")).status_code == 404
    assert (await http.get("/patch_sets/01900000-0000-7000-8000-00000000dead")).status_code == 404


async def test_an_empty_project_is_taught(http):
    assert "refault submit TRACE -p base -p p3" in Page(await http.get("/patch_sets")).text
