"""Notes on the pages of batches and patches: written, read page by page, changed."""

import pytest

from tests.dashboard.test_doors import form_key
from tests.dashboard.test_pages import Page, submit

pytestmark = pytest.mark.anyio

PATCH = "/patches/zap-account"


async def pin(browser, text, back=PATCH, **place):
    data = {"form_key": form_key(await browser.get(back)), "text": text, "back": back}
    return await browser.post("/notes", data=data | (place or {"patch": "zap-account"}))


@pytest.mark.parametrize("letter", ["x", "\u4e2d", "\N{BUG}", "\n"])
async def test_a_note_of_2000_letters_of_any_kind_is_taken_as_the_api_takes_it(anna, letter):
    text = "." + letter * 1_998 + "."

    answer = await pin(anna, text.replace("\n", "\r\n"))

    assert answer.status_code == 303, answer.text
    [note] = (await anna.get("/api/v1/notes")).json()["items"]
    assert note["text"] == text
    longer = await pin(anna, text + letter + "!")
    assert longer.status_code == 422


async def test_older_notes_have_a_page_of_their_own(anna, http, rows):
    code = await submit(http, rows.ready_for_seed_series())
    batch = (await http.get(f"/api/v1/batches/{code}")).json()
    cell = {
        "batch": code,
        "trace": batch["traces"][0]["digest"],
        "variant": batch["columns"][1]["variant"]["digest"],
    }
    for number in range(101):
        body = {"text": f"remark {number};"}
        assert (await http.post("/api/v1/notes", json=body | cell)).status_code == 201
        assert (
            await http.post("/api/v1/notes", json=body | {"patch": "zap-account"})
        ).status_code == 201

    for place in (f"/batches/{code}?base=1", PATCH):
        first = Page(await anna.get(place))
        assert "remark 100;" in first.text
        assert "remark 0;" not in first.text
        [older] = [tag["href"] for tag in first.all("a") if "notes=" in tag["href"]]
        assert ("base=1" in older) == ("base=1" in place)
        last = Page(await anna.get(f"{place.partition('?')[0]}{older}"))
        assert "remark 0;" in last.text
        assert "remark 1;" not in last.text
        assert [tag for tag in last.all("a") if "notes=" in tag["href"]] == []
        assert "Newest notes" in last.text


async def test_who_wrote_a_note_is_named_as_everywhere(anna):
    await pin(anna, "merge it")
    text = Page(await anna.get(PATCH)).text
    assert " anna " in text.partition("Notes")[2]
    assert "user anna" not in text
