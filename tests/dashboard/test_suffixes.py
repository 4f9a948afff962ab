"""Every page's data at its own address with a suffix."""

import csv
import io
import re

import pytest

from services.dashboard import table_data
from services.dashboard.app import create_pages
from tests.dashboard.test_pages import submit
from tests.fixtures.api import in_process, runs_of

pytestmark = pytest.mark.anyio

# Pages without data of their own: forms, and what changes or leads on.
WITHOUT = {
    "/", "/latest", "/batches/new", "/batches/new/kernel", "/batches/{batch}/cell",
    "/batches/{batch}/parts", "/help/api", "/help/keys", "/kernels/new",
    "/kernels/{kernel}/parts", "/login", "/login/oidc", "/login/oidc/callback",
    "/patch_sets/read", "/problems/{name}", "/questions/new", "/s/{secret}",
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
    answer = await http.get("/patches.svg")
    assert answer.status_code == 404
    assert "/patches has no .svg; it has .json, .txt, .md, .csv" in answer.text


async def test_every_page_has_data_or_is_known_to_have_none():
    gets = [r.path for r in create_pages(None).routes if "GET" in getattr(r, "methods", ())]
    suffixed = {path.rpartition(".")[0] for path in gets if path.endswith((".json", "suffix}"))}
    named = {path.replace(":path", "").partition("{")[0] for path in suffixed}
    pages = [path for path in gets if not path.endswith((".json", "suffix}"))]
    without = [path for path in pages if path.partition("{")[0] not in named]
    assert set(without) <= WITHOUT, set(without) - WITHOUT


LISTS = ("batches", "traces", "kernels", "findings", "questions", "patches", "patch_sets", "bases")


@pytest.mark.parametrize("form", ["csv", "md", "txt"])
async def test_every_list_is_a_table_in_every_form(http, code, form):
    for name in (*LISTS, "bundles", "help", "project", "project/audit"):
        answer = await http.get(f"/{name}.{form}")
        assert answer.status_code == 200, (name, answer.text)
        assert answer.headers["content-type"].startswith(f"text/{KINDS[form]}"), name
    found = (await http.get(f"/batches.{form}")).text
    assert code.replace("-", "\\-" if form == "md" else "-") in found


KINDS = {"csv": "csv", "md": "markdown", "txt": "plain"}


async def test_a_table_has_what_the_page_was_narrowed_to(http, rows, code):
    rows.add_trace("other")
    found = list(csv.DictReader(io.StringIO((await http.get("/traces.csv?q=other")).text)))
    assert [row["name"] for row in found] == ["other"]
    page = (await http.get("/traces?q=other")).text
    assert 'href="/traces.csv?q=other"' in page
    assert (await http.get("/patches.csv?q=cr4")).text.count("\r\n") < 40


async def test_a_long_table_ends_with_the_address_of_the_rest(http, rows, monkeypatch):
    for place in range(7):
        rows.add_trace(f"trace-{place}")
    monkeypatch.setattr(table_data, "ROWS_MAX", 4)
    monkeypatch.setattr(table_data, "_PAGE", 2)
    first = await http.get("/traces.txt?q=trace-")
    [following] = re.findall('<(.*)>; rel="next"', first.headers["link"])
    assert first.text.rstrip().endswith(f"more rows: {following}")
    rest = await http.get(following)
    names = re.findall("trace-[0-9]", first.text + rest.text)
    assert sorted(set(names)) == sorted(names)
    assert len(names) == 7


async def test_a_table_shows_a_team_its_own_alone(site, rows, code):
    foreign = rows.mint_token(project=rows.add_project("other"))
    async with in_process(site, foreign) as stranger:
        for name in ("batches", "traces", "findings", "questions", "patch_sets", "project/audit"):
            assert code not in (await stranger.get(f"/{name}.csv")).text, name
        assert (await stranger.get("/project.json")).json()["project"]["name"] == "other"
        assert "boot" not in (await stranger.get("/traces.csv")).text
    async with in_process(site) as nobody:
        answer = await nobody.get("/batches.csv")
        assert answer.headers["location"].startswith("/login")


async def test_what_strangers_wrote_is_no_formula_and_no_markup(http, rows):
    rows.add_trace("=HYPERLINK(1)")
    assert "\r\n'=HYPERLINK(1)" in (await http.get("/traces.csv")).text
    rows.add_trace("<img src=x>")
    assert " <img" not in (await http.get("/traces.md")).text


async def test_the_project_has_people_quotas_and_thresholds_and_no_secret(http, rows):
    rows.add_user("anna", "maintainer")
    body = (await http.get("/project.json")).json()
    assert set(body) == {"project", "members", "usage", "thresholds", "limits", "retention"}
    text = (await http.get("/project.csv")).text
    assert "member,anna,maintainer" in text
    assert "threshold,exits,as usual" in text
    assert 'href="/project.csv"' in (await http.get("/project")).text
