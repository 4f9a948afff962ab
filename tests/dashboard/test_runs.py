"""The page of a run: reached from its cell, complete without charts, and nobody else's."""

from urllib.parse import parse_qs, urlsplit

import pytest

from db.repositories import documents
from tests.api.test_batch_audits import answer_all, wanted  # noqa: F401 - a fixture
from tests.api.test_batch_life import fail_what_waits, seed_batch
from tests.api.test_batches import queued_batch
from tests.builders import digest_of, make_broken, make_run_documents, transaction
from tests.dashboard.test_doors import log_in
from tests.dashboard.test_pages import Page
from tests.fixtures.api import SIMULATOR, in_process, runs_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def runs(http, rows):
    """The runs of one trace of a batch under each prefix of the series, with their documents."""
    batch = await seed_batch(http, rows)
    trace = digest_of("linux61-boot-1cpu")
    found = [run for run in await runs_of(http, batch["code"]) if run["trace_digest"] == trace]
    with transaction(rows.engine) as session:
        for run in found:
            digests = (run["trace_digest"], run["variant"]["digest"], SIMULATOR)
            documents.write(session, make_run_documents(*digests))
    return found


async def test_a_column_of_a_batch_leads_to_its_run(http, runs):
    code = (await http.get(f"/api/v1/runs/{runs[2]['id']}")).json()["batch_code"]
    page = Page(await http.get(f"/batches/{code}"))
    # Its head, and the reason of its verdict.
    [link] = {
        tag["href"]
        for tag in page.all("a")
        if runs[2]["variant"]["digest"] in tag["href"] and runs[2]["trace_digest"] in tag["href"]
    }
    led = await http.get(link)
    assert (led.status_code, led.headers["location"]) == (303, f"/runs/{runs[2]['id']}")
    missing = await http.get(f"/batches/{code}/cell?trace={'0' * 64}")
    assert missing.status_code == 404


async def test_the_page_has_counters_findings_provenance_and_commands(http, runs):
    page = Page(await http.get(f"/runs/{runs[2]['id']}"))
    text = page.text
    assert "1-3 on linux61-boot-1cpu" in text
    assert "Guest sees a change" in text
    for said in (
        "What the guest saw", "Host work, less is better", "missed_fault", "Result digest",
        f"refault repro {runs[2]['id']}", "Computed by worker", "Zero, here and under base, 1",
    ):  # fmt: skip
        assert said in text, said
    assert len(page.all("table")) == len(page.all("caption"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {tag["href"] for tag in page.all("a")}
    assert f"/runs/{runs[0]['id']}" in links, "the base's run"
    [parts] = [link for link in links if "kind=divergence" in link]
    asked = parse_qs(urlsplit(parts).query)
    assert (asked["variant"], asked["second"]) == (
        [runs[0]["variant"]["text"]], [runs[2]["variant"]["text"]]
    )  # fmt: skip


async def test_the_chart_is_the_choice_of_the_address(http, runs):
    run, other = runs[2]["id"], runs[0]["id"]
    page = Page(await http.get(f"/runs/{run}?beside={other}&counter=exits&view=difference"))
    query = f"?beside={other}&counter=exits&view=difference"
    [light, *_] = [tag["src"] for tag in page.all("img")]
    assert light == f"/api/v1/runs/{run}/timeline.svg{query}&theme=light"
    assert f"/api/v1/runs/{run}/timeline.csv{query}" in {tag["href"] for tag in page.all("a")}
    checked = {tag["value"] for tag in page.all("input") if "checked" in tag}
    assert checked == {"difference", other, "exits"}
    rows = (await http.get(f"/api/v1/runs/{run}/timeline.csv{query}")).text.splitlines()
    assert rows[0] == 'events,exits 1-3,"exits base, 1"'
    assert rows[-1] == "10,0,0"


async def test_timelines_by_their_runs_lead_to_the_first_ones_page(http, runs):
    first, second = runs[0]["id"], runs[1]["id"]
    led = await http.get(f"/timelines?run={first}&run={second}&counter=exits")
    assert led.headers["location"] == f"/runs/{first}?beside={second}&counter=exits#timeline"
    assert (await http.get("/timelines")).status_code == 422


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?view=angle", 422), ("?split=colour", 422), ("?counter=guesses", 422),
        ("?beside=nonsense", 422),
        (f"?counter={'x' * 101}", 422),
    ],
)  # fmt: skip
async def test_a_choice_that_cannot_be_shown_is_refused(http, runs, query, status):
    assert (await http.get(f"/runs/{runs[0]['id']}{query}")).status_code == status


async def test_a_run_that_is_not_there_is_named_where_the_chart_would_be(http, runs):
    nobodys = "01900000-0000-7000-8000-00000000dead"
    page = Page(await http.get(f"/runs/{runs[0]['id']}?beside={nobodys}"))
    assert f"no run {nobodys}" in page.text
    assert "Counters" in page.text


async def test_a_result_of_before_has_a_page_that_says_what_it_lacks(http, rows):
    batch = await seed_batch(http, rows)
    run = (await runs_of(http, batch["code"]))[0]["id"]
    text = Page(await http.get(f"/runs/{run}")).text
    assert text.count("`refault profile` makes one from the trace") == 2


async def test_a_failed_run_says_why_and_offers_its_batch_again(site, http, rows):
    code = await queued_batch(http, rows)
    [run] = await runs_of(http, code)
    assert "the page loads itself again" in (await http.get(f"/runs/{run['id']}")).text
    fail_what_waits(rows)
    text = Page(await http.get(f"/runs/{run['id']}")).text
    assert "byte 17: not a trace" in text
    assert f"POST /api/v1/batches/{code}/retry" in text
    rows.add_user("anna", "contributor")
    async with in_process(site) as client:
        client.headers["origin"] = "http://refault.test"
        await log_in(client)
        page = Page(await client.get(f"/runs/{run['id']}"))
    assert f"/batches/{code}/again" in {
        tag["action"] for tag in page.all("form") if "action" in tag
    }


async def test_an_audit_shows_what_broke_and_how_it_came_to_be_so(http, rows, wanted):  # noqa: F811
    code = (await http.post("/api/v1/batches", json=wanted | {"audit": "flush"})).json()["code"]
    run = next(each for each in await runs_of(http, code) if each["variant"]["text"] == "p2")
    waiting = Page(await http.get(f"/runs/{run['id']}")).text
    assert "Its audit (flush) is queued." in waiting
    answer_all(rows, {"p2": [make_broken("F-H1", operation_index=41)]})
    text = Page(await http.get(f"/runs/{run['id']}")).text
    assert "F-H1 does not hold" in text
    assert "first at operation 41" in text


async def test_another_project_sees_no_run(site, rows, runs):
    other = rows.mint_token(project=rows.add_project("elsewhere"))
    async with in_process(site, other) as client:
        for place in (f"/runs/{runs[0]['id']}", f"/api/v1/runs/{runs[0]['id']}/timeline.svg"):
            assert (await client.get(place)).status_code == 404
    mine = rows.mint_token(["read"])
    async with in_process(site, mine) as client:
        answer = await client.get(f"/api/v1/runs/{runs[0]['id']}/timeline.txt")
    assert answer.status_code == 404
    assert "expected one of json, csv, svg" in answer.json()["detail"]


async def test_charts_are_drawn_by_the_process_that_draws(http, runs):
    for name in ("timeline", "attribution"):
        place = f"/api/v1/runs/{runs[0]['id']}/{name}.svg"
        drawn = await http.get(place, params={"theme": "dark", "counter": "exits"})
        assert drawn.status_code == 200, drawn.text
        assert drawn.headers["content-type"] == "image/svg+xml"
        assert "exits" in drawn.text
        again = await http.get(
            place, params={"theme": "dark", "counter": "exits"},
            headers={"if-none-match": drawn.headers["etag"]},
        )  # fmt: skip
        assert again.status_code == 304
