"""Notes on cells and patches: written, shown where they are pinned, changed, deleted, reported."""

import pytest
import sqlalchemy as sa

from db.repositories import notes
from tests.api.test_tokens import logged_in
from tests.builders import transaction
from tests.dashboard.test_doors import log_in
from tests.dashboard.test_pages import HOSTILE, Page, submit
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio

PATH = "/api/v1/notes"


@pytest.fixture
async def code(http, rows):
    return await submit(http, rows.ready_for_seed_series())


@pytest.fixture
async def cell(http, code):
    batch = (await http.get(f"/api/v1/batches/{code}")).json()
    return {
        "batch": code,
        "trace": batch["traces"][1]["digest"],
        "variant": batch["columns"][3]["variant"]["digest"],
    }


async def test_a_note_on_a_cell_names_its_place_and_its_author(http, cell):
    made = await http.post(PATH, json=cell | {"text": "known,\nmended by 6"})
    listed = (await http.get(PATH, params={"batch": cell["batch"]})).json()["items"]

    assert made.status_code == 201
    assert listed == [made.json()]
    [note] = listed
    assert (note["column"], note["trace_name"]) == ("1-3", "linux61-boot-1cpu")
    assert (note["made_by"], note["is_own"], note["edited_at"]) == ("token tests", True, None)


async def test_it_ends_the_text_and_the_markdown_of_the_comparison_and_no_shared_one(
    http, site, cell
):
    code = cell["batch"]
    before = (await http.get(f"/api/v1/comparisons/{code}.txt")).text
    await http.post(PATH, json=cell | {"text": "word " * 40 + "\n\tend"})

    text = (await http.get(f"/api/v1/comparisons/{code}.txt")).text
    markdown = (await http.get(f"/api/v1/comparisons/{code}.md")).text
    share = (await http.post(f"/api/v1/batches/{code}/shares", json={})).json()
    async with in_process(site, share["path"].removeprefix("/s/")) as linked:
        shared = (await linked.get(f"/api/v1/comparisons/{code}.txt")).text
        assert (await linked.get(PATH)).status_code in {403, 404}

    assert text.startswith(before)
    assert "Notes\n-----" in text
    assert "1-3 on linux61-boot-1cpu (token tests," in text
    assert max(map(len, text.splitlines())) <= 72
    assert "1-3 on linux61-boot-1cpu" in markdown
    assert shared == before


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"text": "x"}, "give batch, trace and variant, or patch"),
        ({"text": "x", "patch": "zap-account", "batch": "b-1"}, "give batch, trace and variant"),
        ({"text": "", "patch": "zap-account"}, "at least 1 character"),
        ({"text": "x" * 2001, "patch": "zap-account"}, "at most 2000 characters"),
        ({"text": "x\u202e", "patch": "zap-account"}, "U+202E"),
        ({"text": "x", "patch": "zap-acount"}, "did you mean zap-account?"),
    ],
)
async def test_a_note_that_belongs_nowhere_is_refused(http, body, told):
    answer = await http.post(PATH, json=body)

    assert answer.status_code == 422
    assert told in answer.text
    assert (await http.get(PATH)).json()["items"] == []


async def test_a_cell_of_another_batch_is_refused(http, cell):
    answer = await http.post(PATH, json=cell | {"text": "x", "variant": "0" * 64})

    assert answer.status_code == 422
    assert "has no cell of that trace and that variant" in answer.json()["detail"]


async def test_only_its_author_and_maintainers_change_it_and_the_audit_keeps_that(site, http, rows):
    for name, role in (("anna", "contributor"), ("otto", "contributor"), ("max", "maintainer")):
        rows.add_user(name, role)
    async with logged_in(site, "anna") as anna:
        note = (await anna.post(PATH, json={"patch": "zap-account", "text": "good"})).json()
        mine = await anna.patch(f"{PATH}/{note['id']}", json={"text": "better"})
        assert mine.json()["text"] == "better"
        assert mine.json()["edited_at"]
    async with logged_in(site, "otto") as otto:
        [seen] = (await otto.get(PATH)).json()["items"]
        assert seen["is_own"] is False
        assert (await otto.patch(f"{PATH}/{note['id']}", json={"text": "bad"})).status_code == 403
        assert (await otto.delete(f"{PATH}/{note['id']}")).status_code == 403
    async with logged_in(site, "max") as maintainer:
        assert (await maintainer.delete(f"{PATH}/{note['id']}")).status_code == 204
    log = (await http.get("/api/v1/audit", params={"actor": "user"})).json()["items"]
    done = [(entry["actor"], entry["action"]) for entry in log if "notes" in entry["action"]]
    assert [actor for actor, _ in done] == ["user max", "user anna", "user anna"]


async def test_the_pages_show_it_and_change_it_without_a_script(site, rows, cell):
    rows.add_user("anna", "contributor")
    async with in_process(site) as anna:
        anna.headers["origin"] = "http://refault.test"
        await log_in(anna)
        for address, place in (
            (f"/batches/{cell['batch']}", cell),
            ("/patches/zap-account", {"patch": "zap-account"}),
        ):
            page = Page(await anna.get(address))
            [key, *_] = [tag["value"] for tag in page.all("input") if tag.get("name") == "form_key"]
            given = {"form_key": key, "back": address}
            sent = await anna.post("/notes", data=given | place | {"text": HOSTILE})
            assert sent.headers["location"] == f"{address}#notes"
            shown = await anna.get(address)
            assert HOSTILE in Page(shown).text
            assert "<script>alert" not in shown.text
            [note] = [
                tag["action"].split("/")[2]
                for tag in Page(shown).all("form")
                if tag.get("action", "").endswith("/edit")
            ]
            await anna.post(f"/notes/{note}/edit", data=given | {"text": "reworded\r\ntwice"})
            assert "reworded twice" in Page(await anna.get(address)).text
            hidden = given | {"text": "re\u202eworded"}
            assert (await anna.post(f"/notes/{note}/edit", data=hidden)).status_code == 422
            away = given | {"back": "https://evil.example/"}
            gone = await anna.post(f"/notes/{note}/delete", data=away)
            assert gone.headers["location"] == "/#notes"
            assert "reworded" not in Page(await anna.get(address)).text


async def test_another_project_sees_none_of_it(site, http, rows, cell):
    note = (await http.post(PATH, json={"patch": "zap-account", "text": "secret plan"})).json()
    other = rows.mint_token(project=rows.add_project("other"))
    async with in_process(site, other) as foreign:
        assert (await foreign.get(PATH)).json()["items"] == []
        assert "secret plan" not in (await foreign.get("/patches/zap-account")).text
        assert (await foreign.get(PATH, params={"batch": cell["batch"]})).status_code == 404
        assert (await foreign.post(PATH, json=cell | {"text": "x"})).status_code == 404
        assert (await foreign.delete(f"{PATH}/{note['id']}")).status_code == 404


async def test_of_a_batch_no_more_columns_are_read_than_have_notes(http, rows, cell):
    await http.post("/api/v1/notes", json={**cell, "text": "here"})
    found = []

    def read(_connection, cursor, statement, *_):
        if "FROM batch_columns" in statement:
            found.append(cursor.rowcount)

    with transaction(rows.engine) as session:
        written = notes.list_page(session, limit=10).rows
        sa.event.listen(rows.engine, "after_cursor_execute", read)
        names = notes.names_of(session, written)
        sa.event.remove(rows.engine, "after_cursor_execute", read)

    assert found == [1]
    assert [each.column for each in names.values()] == ["1-3"]
