"""Short addresses, and the list of keys."""

import pytest

from tests.dashboard.test_pages import Page, submit

pytestmark = pytest.mark.anyio


async def test_a_short_address_leads_to_the_batch_with_its_query(http, rows):
    code = await submit(http, rows.ready_for_seed_series())

    for short in (code, code.removeprefix("b-")):
        answer = await http.get(f"/b/{short}", params={"base": 2})
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/batches/{code}?base=2"
    assert (await http.get(f"/batches/{code}?base=2")).status_code == 200


@pytest.mark.parametrize("code", ["7K3F", "a%2F%2Fevil.example", "x" * 60, "7k 3f"])
async def test_what_is_no_code_leads_nowhere(http, code):
    answer = await http.get(f"/b/{code}")

    assert answer.status_code == 404


async def test_the_keys_are_told_without_a_script_and_to_strangers(stranger):
    page = Page(await stranger.get("/help/keys"))

    assert "/ to the search of this page" in page.text
    assert "this list; Esc closes it" in page.text
    assert any("/static/keys.js" in tag.get("src", "") for tag in page.all("script"))
