"""The page of findings: groups with their first place, one group's runs, filters in the address."""

import pytest

from tests.api.test_batch_life import seed_batch
from tests.dashboard.test_pages import Page

pytestmark = pytest.mark.anyio


async def test_a_group_leads_to_its_runs_and_into_the_inspector(http, rows):
    assert "--audit flush" in (await http.get("/findings")).text
    batch = await seed_batch(http, rows)
    page = Page(await http.get("/findings"))
    assert "guest sees it" in page.text
    links = {tag["href"] for tag in page.all("a")}
    assert any(link.startswith("/runs/") for link in links)
    assert any(link.startswith("/questions/new?") for link in links)
    link = min(each for each in links if "kind=missed-fault" in each)
    group = Page(await http.get(link))
    assert "The runs that have it" in group.text
    assert f"batch {batch['code']}" in group.text
    assert "--keep finding:missed-fault@" in group.text
    assert any("kind=missed-fault" in tag["href"] for tag in group.all("a") if "api" in tag["href"])


async def test_filters_stand_in_the_form_and_say_when_nothing_fits(http, rows):
    await seed_batch(http, rows)
    page = Page(await http.get('/findings?q="><b>&known=false&source=run'))
    assert "Nothing found with this filter." in page.text
    assert [tag["value"] for tag in page.all("option") if "selected" in tag] == ["run", "false"]
    assert '"><b>' in {tag.get("value") for tag in page.all("input")}


@pytest.mark.parametrize(
    "query", ["known=perhaps", "source=rumour", f"q={'x' * 101}", "variant=p3", "after=nonsense"]
)
async def test_a_filter_that_is_none_is_refused(http, query):
    assert (await http.get(f"/findings?{query}")).status_code == 422
