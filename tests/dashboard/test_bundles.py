"""The pages of imported comparisons."""

import pytest

from tests.bundle.test_bundle import made
from tests.dashboard.test_pages import HOSTILE, Page
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
