"""The pages of imported comparisons."""

import io
import zipfile

import pytest

from refault.bundle import Bundle, HeadNote, verify
from tests.builders import digest_of, seed_series_columns
from tests.bundle.test_bundle import changed, made, text_of
from tests.dashboard.test_doors import log_in
from tests.dashboard.test_pages import HOSTILE, Page, submit
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio


async def imported(http, **given):
    answer = await http.post(
        "/api/v1/bundles", content=made(**given), headers={"content-type": "application/zip"}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def test_an_empty_list_says_how_to_import_one(http):
    assert "refault bundle import b-7k3f.zip" in Page(await http.get("/bundles")).text


async def test_the_list_leads_to_the_comparison_with_what_is_known_of_it(http):
    row_id = await imported(http)

    listed = Page(await http.get("/bundles"))
    page = Page(await http.get(f"/bundles/{row_id}"))

    assert f"/bundles/{row_id}" in [tag["href"] for tag in listed.all("a")]
    assert "0 of its results were computed in this project too" in page.text
    assert "10 were not" in page.text
    assert "32 accesses reached a wrong address" in page.text
    assert "114,347 ▲ +18,162 (+18.9%)" in page.text
    assert len(page.all("table")) == len(page.all("caption")) == 2


async def test_one_trace_of_it_has_an_address(http):
    row_id = await imported(http)

    page = Page(await http.get(f"/bundles/{row_id}", params={"trace": 2}))
    wrong = await http.get(f"/bundles/{row_id}", params={"trace": "x"})

    assert len(page.all("table")) == 1
    assert "?trace=1" in [tag["href"] for tag in page.all("a")]
    assert wrong.status_code == 422


async def test_foreign_text_is_escaped(http):
    row_id = await imported(http, title=HOSTILE)

    for path in ("/bundles", f"/bundles/{row_id}"):
        answer = await http.get(path)
        assert "<script>alert" not in answer.text
        assert HOSTILE in Page(answer).text


async def test_another_project_sees_nothing_of_it(http, site, rows):
    row_id = await imported(http)
    other = rows.mint_token(project=rows.add_project("other"))
    async with in_process(site, other) as foreign:
        assert "Series of 12 April" not in (await foreign.get("/bundles")).text
        assert (await foreign.get(f"/bundles/{row_id}")).status_code == 404


# --- imported in the browser ------------------------------------------------------------------


async def sent(http, data, name="b-7k3f.zip"):
    form = Page(await http.get("/bundles"))
    [key, *_] = [tag["value"] for tag in form.all("input") if tag.get("name") == "form_key"]
    return await http.post(
        "/bundles",
        data={"form_key": key},
        files={"file": (name, data, "application/zip")},
    )


@pytest.fixture
async def browser(site, rows):
    rows.add_user("anna", "contributor")
    async with in_process(site) as http:
        http.headers["origin"] = "http://refault.test"
        await log_in(http)
        yield http


async def test_a_bundle_is_imported_by_a_form(browser):
    answer = await sent(browser, made())

    assert answer.status_code == 303
    page = Page(await browser.get(answer.headers["location"]))
    assert "Patch 3 (" in page.text
    assert "patch 3 (parent-stop-bit)" in page.text
    assert "do not changes what the guest sees" in page.text


async def test_a_bundle_that_lies_is_refused_on_the_page_and_not_kept(browser):
    page = text_of(made(), "index.html").replace("GUEST-VISIBLE CHANGE", "improvement")

    answer = await sent(browser, changed(made(), "index.html", page))

    assert answer.status_code == 422
    assert "index.html: not what its results give" in Page(answer).text
    assert (await browser.get("/api/v1/bundles")).json()["items"] == []


async def test_an_empty_form_and_a_large_file_are_refused_with_what_to_do(browser, monkeypatch):
    nothing = await sent(browser, b"", name="")
    monkeypatch.setattr("services.dashboard.bundles.IMPORTED_BYTES_MAX", 1 << 20)
    large = await sent(browser, b"PK" + bytes(1 << 20))

    assert (nothing.status_code, large.status_code) == (422, 422)
    assert "no file was chosen" in Page(nothing).text
    assert "a bundle of more than 1 MiB is not imported" in Page(large).text


async def test_a_form_without_its_key_or_without_a_login_imports_nothing(browser, site):
    files = {"file": ("b.zip", made(), "application/zip")}
    answer = await browser.post("/bundles", files=files)
    async with in_process(site) as stranger:
        unknown = await stranger.post("/bundles", files=files)

    assert answer.status_code == 403
    assert unknown.status_code == 401
    assert (await browser.get("/api/v1/bundles")).json()["items"] == []


async def test_notes_that_came_inside_are_shown_as_such(http):
    column = seed_series_columns("linux61-boot-1cpu")[3]
    note = HeadNote(
        digest_of("linux61-boot-1cpu"), column.key, HOSTILE, "user anna", "2026-11-30T09:00:00Z"
    )
    row_id = await imported(http, notes=(note,))

    answer = await http.get(f"/bundles/{row_id}")

    assert "<script>alert" not in answer.text
    page = Page(answer)
    assert "1-3 on linux61-boot-1cpu anna" in page.text
    assert HOSTILE in page.text


# --- taken through a link ---------------------------------------------------------------------


async def test_who_has_a_link_takes_the_bundle_from_its_page_without_the_notes(http, site, rows):
    code = await submit(http, rows.ready_for_seed_series())
    batch = (await http.get(f"/api/v1/batches/{code}")).json()
    cell = {
        "batch": code,
        "trace": batch["traces"][1]["digest"],
        "variant": batch["columns"][3]["variant"]["digest"],
    }
    await http.post("/api/v1/notes", json={**cell, "text": "for us alone"})
    share = (await http.post(f"/api/v1/batches/{code}/shares", json={})).json()

    async with in_process(site) as stranger:
        page = Page(await stranger.get(share["path"]))
        answer = await stranger.get(f"{share['path']}.zip")
        again = await stranger.get(
            f"{share['path']}.zip", headers={"if-none-match": answer.headers["etag"]}
        )
        one = await stranger.get(f"{share['path']}.zip", params={"trace": cell["trace"]})
        wrong = await stranger.get("/s/rfs_nothing.zip")

    assert any(str(tag.get("href")).startswith(f"{share['path']}.zip") for tag in page.all("a"))
    assert answer.headers["content-disposition"] == f'attachment; filename="{code}.zip"'
    found = verify(Bundle.open(io.BytesIO(answer.content)))
    assert (found.problems, found.head.notes) == ([], ())
    assert verify(Bundle.open(io.BytesIO(one.content))).traces == 1
    assert (again.status_code, wrong.status_code) == (304, 404)
    mine = await http.get(f"/api/v1/comparisons/{code}.zip")
    with zipfile.ZipFile(io.BytesIO(mine.content)) as archive:
        assert "for us alone" in archive.read(f"refault-{code}/comparison.txt").decode()
