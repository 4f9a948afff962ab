"""Notes where they are pinned: marks in cells and at patches, and the form that a cell leads to."""

import pytest

from tests.dashboard.test_doors import form_key
from tests.dashboard.test_pages import Page, submit
from tests.fixtures.api import in_process, runs_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def code(http, rows):
    return await submit(http, rows.ready_for_seed_series())


def pins(page):
    return [tag["href"] for tag in page.all("a") if tag.get("class") == "pin"]


async def test_a_cell_leads_to_a_form_of_its_own_and_then_has_a_mark_that_leads_to_the_note(
    anna,
    http,
    code,
):
    batch = (await http.get(f"/api/v1/batches/{code}")).json()
    address = f"/batches/{code}?over=1"
    page = Page(await anna.get(address))
    adds = [tag for tag in page.all("a") if tag.get("class") == "note-on"]
    assert pins(page) == []
    add = next(
        tag["href"] for tag in adds if tag["aria-label"] == "Note on 1-3 on linux61-boot-1cpu"
    )
    assert "over=1" in add
    assert add.endswith("#notes")

    answer = await anna.get(f"/batches/{code}{add}")
    cell = Page(answer)
    hidden = {tag["name"]: tag["value"] for tag in cell.all("input") if tag.get("type") == "hidden"}
    assert hidden["trace"] == batch["traces"][1]["digest"]
    assert hidden["variant"] == batch["columns"][3]["variant"]["digest"]
    assert "Notes on 1-3 of linux61-boot-1cpu" in cell.text
    done = await anna.post("/notes", data=hidden | {"text": "see F-U1"})
    assert done.status_code == 303

    shown = Page(await anna.get(done.headers["location"]))
    assert "see F-U1" in shown.text
    [mark] = pins(shown)
    assert mark in [tag["href"] for tag in shown.all("a") if tag.get("class") == "noted"]
    assert "see F-U1" in Page(await anna.get(f"/batches/{code}{mark}")).text
    other = add.replace(".3", ".4")
    assert "see F-U1" not in Page(await anna.get(f"/batches/{code}{other}")).text
    parts = (await anna.get(f"/batches/{code}/parts")).text
    assert 'class="pin"' in parts


async def test_the_run_of_the_cell_shows_the_note_and_takes_one(anna, http, code):
    run = (await runs_of(http, code))[3]
    cell = {"trace": run["trace_digest"], "variant": run["variant"]["digest"]}
    body = {"batch": code, "text": "pinned here", **cell}
    assert (await http.post("/api/v1/notes", json=body)).status_code == 201

    answer = await anna.get(f"/runs/{run['id']}")

    page = Page(answer)
    assert "pinned here" in page.text
    hidden = {tag["name"]: tag["value"] for tag in page.all("input") if tag.get("type") == "hidden"}
    assert {name: hidden[name] for name in cell} == cell
    given = {**hidden, "form_key": form_key(answer), "text": "and more"}
    assert (await anna.post("/notes", data=given)).headers["location"] == f"/runs/{run['id']}#notes"


async def test_a_patch_has_its_mark_in_the_list_in_the_plan_and_in_the_tree(http, code):
    for text in ("one", "two"):
        body = {"patch": "parent-stop-bit", "text": text}
        assert (await http.post("/api/v1/notes", json=body)).status_code == 201
    batch = (await http.get(f"/api/v1/batches/{code}")).json()
    places = ("/patches", f"/batches/{code}", f"/patch_sets/{batch['patch_sets'][0]['id']}")
    for place in (*places, "/bases/v2.6.34-pre", "/patch_sets/p2+p3"):
        page = Page(await http.get(place))
        marks = [tag["href"] for tag in page.all("a") if tag.get("class") == "noted"]
        assert marks == ["/patches/parent-stop-bit#notes"], place
        assert "2 notes" in page.text


async def test_a_link_shows_no_notes_and_no_marks(http, stranger, code):
    batch = (await http.get(f"/api/v1/batches/{code}")).json()
    cell = {
        "batch": code,
        "trace": batch["traces"][0]["digest"],
        "variant": batch["columns"][1]["variant"]["digest"],
    }
    await http.post("/api/v1/notes", json=cell | {"text": "between us"})
    link = (await http.post(f"/api/v1/batches/{code}/shares", json={})).json()["path"]

    shown = await stranger.get(link)

    assert "between us" not in shown.text
    assert "✎" not in shown.text


@pytest.mark.parametrize("on", ["", "x", ".1", "0.99999", "zz.1", "1.x", "%F0%9F%90%9B.1"])
async def test_an_address_that_names_no_cell_shows_the_notes_of_all(http, code, on):
    answer = await http.get(f"/batches/{code}?on={on}")
    assert answer.status_code == 200
    assert "All notes of this batch" not in answer.text


async def test_another_project_sees_none_of_its_places(http, site, rows, code):
    await http.post("/api/v1/notes", json={"patch": "zap-account", "text": "ours"})
    other = rows.mint_token(project=rows.add_project("other"))
    async with in_process(site, other) as theirs:
        assert (await theirs.get("/api/v1/notes/places")).json()["items"] == []
        query = {"batch": code}
        assert (await theirs.get("/api/v1/notes/places", params=query)).status_code == 404
