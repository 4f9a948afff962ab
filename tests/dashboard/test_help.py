"""The pages of help: the words of the tables, and the API in words."""

import pytest

from refault.client import AsyncClient
from refault.glossary import ENTRIES
from tests.dashboard.test_pages import HOSTILE, Page, submit
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio


async def test_help_needs_no_login_and_has_every_word_at_its_anchor(site):
    async with in_process(site) as stranger:
        answer = await stranger.get("/help")

    page = Page(answer)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert answer.status_code == 200
    assert {entry.anchor for entry in ENTRIES} <= set(ids)
    assert len(ids) == len(set(ids))
    anchors = {a["href"] for a in page.all("a") if a["href"].startswith("#")}
    assert anchors <= {f"#{name}" for name in ids}


async def test_a_search_in_the_address_leaves_the_rest_out(site):
    async with in_process(site) as stranger:
        page = Page(await stranger.get("/help", params={"q": "synced"}))
        nothing = Page(await stranger.get("/help", params={"q": HOSTILE}))
        refused = await stranger.get("/help", params={"q": "x" * 101})

    assert "synced pages" in page.text
    assert "mmu_flooded" not in page.text
    assert [field["value"] for field in page.all("input") if field["name"] == "q"] == ["synced"]
    assert "No word has" in nothing.text
    assert [tag for tag in nothing.all("script") if "src" not in tag] == []
    assert refused.status_code == 422


async def test_the_api_is_told_in_words_with_a_link_to_its_description(site):
    async with in_process(site) as stranger:
        page = Page(await stranger.get("/help/api"))

    assert "/api/v1/openapi.json" in [tag["href"] for tag in page.all("a")]
    assert "GET /api/v1/batches/{batch}" in page.text
    assert "Get one batch, by id or code" in page.text
    assert "http://refault.test/api/v1/batches" in page.text
    assert len(page.all("table")) == len(page.all("caption")) > 10


async def test_no_page_leads_people_to_raw_json_for_help(http):
    links = [tag["href"] for tag in Page(await http.get("/")).all("a")]

    assert "/help" in links
    assert "/help/api" in [tag["href"] for tag in Page(await http.get("/help")).all("a")]
    assert "/api/v1/openapi.json" not in links


async def test_every_head_of_a_row_of_a_comparison_leads_to_its_meaning(http, rows):
    code = await submit(http, rows.ready_for_seed_series())
    help_page = Page(await http.get("/help"))
    ids = {attributes["id"] for _, attributes in help_page.tags if "id" in attributes}

    page = Page(await http.get(f"/batches/{code}"))

    led = {a["href"].partition("#")[2] for a in page.all("a") if a["href"].startswith("/help#")}
    assert {"exits", "parent_marks", "outcomes", "wrong_address", "all-verdicts"} <= led
    assert {"missed-fault", "pf_guest"} & led
    assert led <= ids


async def test_the_description_of_the_api_is_read_once_for_all_its_pages(site, monkeypatch):
    asked = []
    get = AsyncClient.get_openapi

    async def counted(client):
        asked.append(1)
        return await get(client)

    monkeypatch.setattr(AsyncClient, "get_openapi", counted)
    async with in_process(site) as stranger:
        pages = [(await stranger.get("/help/api")).text for _ in range(3)]
        bodies = [(await stranger.get("/api/v1/openapi.json")).content for _ in range(2)]

    assert len(set(pages)) == len(asked) == 1
    assert bodies[0] == bodies[1]


async def test_the_heads_of_lists_lead_to_their_words(http, rows):
    await submit(http, rows.ready_for_seed_series())
    help_page = Page(await http.get("/help"))
    ids = {attributes["id"] for _, attributes in help_page.tags if "id" in attributes}
    expected = {
        "/batches": {"batch", "all-verdicts", "plan", "trace", "run"},
        "/traces": {"trace", "event"},
        "/patch_sets": {"patch-set", "variant"},
        "/patches": {"patch"},
        "/project": {"role", "counters"},
    }

    for path, words in expected.items():
        page = Page(await http.get(path))
        led = {a["href"].partition("#")[2] for a in page.all("a") if a["href"].startswith("/help#")}
        assert led <= ids, path
        missing = {word for word in words if not any(each.endswith(word) for each in led)}
        assert not missing, (path, led)
