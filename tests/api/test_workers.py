"""Workers that are starting, in the API and on the pages of those who wait for one."""

import dataclasses

import pytest
import sqlalchemy as sa

from db.models import FIRST_PROJECT
from db.repositories import batches, worker_starts
from db.repositories.worker_starts import Step
from services.api.batches import service
from services.api.batches.watching import Watching
from tests.api.test_tokens import logged_in
from tests.builders import transaction
from tests.dashboard.test_pages import Page
from tests.fixtures.api import SERIES

pytestmark = pytest.mark.anyio

WORDS = "a worker compiles the engine shadow, 2 of 3: 41 of 270 kernels"


def starts(rows, done=41, name="one"):
    with transaction(rows.engine) as session:
        step = Step("the engine shadow", 2, 3, done, 270)
        worker_starts.announce(session, name=name, host="h", pid=7, step=step)


def has_started(rows, name="one"):
    with transaction(rows.engine) as session:
        worker_starts.over(session, name)


@pytest.fixture
async def anna(site, rows):
    rows.add_user("anna", "contributor")
    async with logged_in(site, "anna") as client:
        yield client


@pytest.fixture
async def waiting(http, rows):
    """A queued batch, whose worker has ended since."""
    rows.register_simulator()
    row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    body = {"traces": [rows.add_trace("boot")], "patch_sets": [row["id"]]}
    code = (await http.post("/api/v1/batches", json=body)).json()["code"]
    with transaction(rows.engine) as session:
        session.execute(sa.text("UPDATE workers SET ended_at = now(), ended_in_order = true"))
    return code


async def test_the_api_says_what_is_compiled_and_how_far(http, rows):
    assert (await http.get("/api/v1/workers")).json() == {"alive_count": 0, "starting": []}
    starts(rows)
    (found,) = (await http.get("/api/v1/workers")).json()["starting"]
    assert found.pop("started_at")
    assert found == {
        "step": "the engine shadow",
        "step_number": 2,
        "step_count": 3,
        "kernels_done": 41,
        "kernels_total": 270,
    }
    assert len((await http.get("/api/v1/news")).json()["workers_starting"]) == 1
    has_started(rows)
    assert (await http.get("/api/v1/workers")).json()["starting"] == []


async def test_home_and_the_batch_say_it_and_then_no_more(anna, rows, waiting):
    starts(rows)
    starts(rows, done=0, name="two")
    both = WORDS.replace("a worker", "2 workers are starting; one")
    for place in ("/", "/latest", f"/batches/{waiting}", f"/batches/{waiting}/parts?have="):
        answer = await anna.get(place)
        assert f"No worker is ready yet: {both}" in Page(answer).text, place
        assert "style=" not in answer.text
    assert "data-open" in (await anna.get("/latest")).text, "it is asked for again soon"

    for name in ("one", "two"):
        has_started(rows, name)
    rows.register_simulator()
    for place in ("/", "/latest", f"/batches/{waiting}", f"/batches/{waiting}/parts?have="):
        text = Page(await anna.get(place)).text
        assert "compiles" not in text, place
        assert "No worker" not in text, place


async def test_a_batch_says_that_no_worker_is_there(anna, waiting):
    text = Page(await anna.get(f"/batches/{waiting}")).text
    assert "No worker is running: the batch waits for one" in text


async def test_operations_have_each_with_a_bar(site, rows):
    rows.add_user("root", is_admin=True)
    starts(rows)
    async with logged_in(site, "root") as root:
        page = Page(await root.get("/operations"))
        assert f"No worker is ready: {WORDS}." in page.text
        (bar,) = page.all("progress")
        assert (bar["max"], bar["value"]) == ("270", "41")
        assert [tag for tag in page.all("meta") if tag.get("http-equiv") == "refresh"]
        has_started(rows)
        page = Page(await root.get("/operations"))
        assert page.all("progress") == []
        assert not [tag for tag in page.all("meta") if tag.get("http-equiv") == "refresh"]


async def test_the_events_of_a_waiting_batch_say_it_whenever_it_moves(site, rows, waiting):
    resources = dataclasses.replace(site.api.state.resources, project_id=FIRST_PROJECT)
    with resources.transaction() as session:
        source = service.watched(resources, batches.get(session, waiting))
    who = Watching("a token", "tests", FIRST_PROJECT, lambda: True)
    starts(rows)
    seen = []
    async with resources.watchers.stream(who, source, 0) as stream:
        async for event in stream.events():
            done = [each["kernels_done"] for each in event.data["starting"]]
            if seen[-1:] == [done]:
                continue
            seen.append(done)
            if done == [41]:
                starts(rows, done=42)
            elif done == [42]:
                has_started(rows)
            else:
                break
    assert seen == [[41], [42], []]


async def test_the_pages_are_there_before_the_first_worker_has_ever_come(anna, rows):
    starts(rows)
    assert WORDS in Page(await anna.get("/")).text
    for place in ("/batches", "/traces", "/patch_sets", "/patches", "/findings", "/questions"):
        assert (await anna.get(place)).status_code == 200, place
