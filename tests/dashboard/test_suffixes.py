"""Every page's data at its own address with a suffix."""

import pytest

from services.dashboard.app import create_pages
from tests.dashboard.test_pages import submit
from tests.fixtures.api import runs_of

pytestmark = pytest.mark.anyio

# Pages without data of their own: forms, and what changes or leads on.
WITHOUT = {
    "/", "/latest", "/batches/new", "/batches/{batch}/cell", "/batches/{batch}/parts", "/help/api",
    "/help/keys", "/kernels/{kernel}/parts", "/login", "/login/oidc", "/login/oidc/callback",
    "/patch_sets/read", "/problems/{name}", "/project", "/questions/new", "/s/{secret}",
    "/s/{secret}.{form}", "/timelines", "/traces/new", "/traces/{trace}/delete",
}  # fmt: skip


@pytest.fixture
async def code(http, rows):
    return await submit(http, rows.ready_for_seed_series())


@pytest.mark.parametrize("form", ["json", "txt", "md", "csv", "svg", "zip"])
async def test_a_batch_has_its_data_in_every_form_with_its_view(http, code, form):
    answer = await http.get(f"/batches/{code}.{form}?base=1&pin=2", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/api/v1/comparisons/{code}.{form}?base=1&pin=2"
    assert (await http.get(answer.headers["location"])).status_code == 200
    short = await http.get(f"/b/{code.removeprefix('b-')}.{form}", follow_redirects=False)
    assert short.headers["location"] == f"/batches/{code}.{form}"


async def test_so_have_the_other_pages(http, rows, code):
    batch = (await http.get(f"/api/v1/batches/{code}")).json()
    run = (await runs_of(http, code))[0]["id"]
    trace = batch["traces"][0]["digest"]
    for page in (
        "/batches.json", "/traces.json", f"/traces/{trace}.json", f"/traces/{trace}.csv",
        "/patches.json?q=cr4", "/patches/cr4-posted.json", "/patch_sets.json",
        f"/patch_sets/{batch['patch_sets'][0]['id']}.json", "/patch_sets/p1+p2,tlb=1.json",
        "/patch_sets/p3,page-limit=400/64/32768.json", "/bases.json", "/bases/v2.6.34-pre.json",
        "/kernels.json", "/questions.json", "/findings.json", f"/runs/{run}.json", "/bundles.json",
        "/help.json", f"/compare.csv?column={code}:0&column={code}:3", "/project/audit.json",
    ):  # fmt: skip
        answer = await http.get(page, follow_redirects=True)
        assert answer.status_code == 200, page
        assert not answer.headers["content-type"].startswith("text/html"), page


async def test_a_form_that_a_page_has_not_says_which_it_has(http):
    answer = await http.get("/patches.csv")
    assert answer.status_code == 404
    assert "/patches has no .csv; it has .json" in answer.text


async def test_every_page_has_data_or_is_known_to_have_none():
    gets = [r.path for r in create_pages(None).routes if "GET" in getattr(r, "methods", ())]
    suffixed = {path.rpartition(".")[0] for path in gets if path.endswith((".json", "suffix}"))}
    named = {path.replace(":path", "").partition("{")[0] for path in suffixed}
    pages = [path for path in gets if not path.endswith((".json", "suffix}"))]
    without = [path for path in pages if path.partition("{")[0] not in named]
    assert set(without) <= WITHOUT, set(without) - WITHOUT
