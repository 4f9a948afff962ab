"""``/api/v1/operations``: the whole service, for administrators who are logged in."""

import pytest
import sqlalchemy as sa

from db.models import Shard
from db.repositories import simulators
from tests.api.test_tokens import logged_in
from tests.builders import transaction
from tests.dashboard.test_pages import Page
from tests.fixtures.api import SERIES, SIMULATOR

pytestmark = pytest.mark.anyio

PATH = "/api/v1/operations"


@pytest.fixture
async def root(site, rows):
    rows.add_user("root", is_admin=True)
    async with logged_in(site, "root") as client:
        yield client


async def submitted(http, rows):
    rows.register_simulator()
    digest = rows.add_trace("confidential-boot")
    chosen = (await http.post("/api/v1/patch_sets", json=SERIES)).json()["id"]
    body = {"traces": [digest], "patch_sets": [chosen], "plan": "each"}
    return (await http.post("/api/v1/batches", json=body)).json()


async def test_workers_queues_storage_and_versions_are_told(root, http, rows):
    await submitted(http, rows)
    rows.register_simulator("stopped")
    with transaction(rows.engine) as session:
        simulators.ended(session, "stopped", in_order=True)

    found = (await root.get(PATH)).json()

    alive, stopped = found["workers"]
    assert (alive["name"], alive["is_alive"], alive["engines"]) == (
        "worker", True, {"shadow": SIMULATOR},
    )  # fmt: skip
    assert (stopped["is_alive"], stopped["ended_in_order"]) == (False, True)
    shards = next(queue for queue in found["queues"] if queue["kind"] == "shards")
    assert (shards["queued"], shards["running"], shards["overdue"]) == (1, 0, 0)
    assert shards["oldest_queued_at"]
    assert found["storage"]["traces"] == 1
    assert found["storage"]["results"] == 0
    assert found["storage"]["trace_bytes"] == 912_384
    assert found["storage"]["database_bytes"] > 0
    assert found["parts"]["database"]["state"] == "ok"
    assert found["parts"]["broker"]["state"] == "unavailable"
    assert found["simulators"]["shadow"] == SIMULATOR


async def test_nothing_of_a_project_is_named(root, http, rows):
    batch = await submitted(http, rows)

    for path in (PATH, "/operations"):
        text = (await root.get(path)).text
        assert "confidential-boot" not in text
        assert batch["code"] not in text


async def test_only_administrators_who_are_logged_in_see_it(site, http, rows):
    rows.add_user("anna", "maintainer")
    async with logged_in(site, "anna") as anna:
        assert (await anna.get(PATH)).status_code == 403
        assert (await anna.get("/operations")).status_code == 403
        assert "/operations" not in [
            tag["href"] for tag in Page(await anna.get("/project")).all("a")
        ]
    assert (await http.get(PATH)).status_code == 403


async def test_the_page_says_what_to_look_after(root, http, rows):
    await submitted(http, rows)
    with transaction(rows.engine) as session:
        simulators.all_ended(session)
        session.execute(
            sa.update(Shard).values(
                state="running",
                lease_until=sa.func.now() - sa.text("interval '1 hour'"),
                started_at=sa.func.now(),
            )
        )

    page = Page(await root.get("/operations"))

    assert "No worker is alive, and 0 tasks waiting." in page.text
    assert "1 task running behind the end of the lease." in page.text
    assert "Start Valkey or Redis" in page.text
    assert "– stopped" in page.text
    assert len(page.all("table")) == len(page.all("caption")) == 2
    assert "/operations" in [tag["href"] for tag in page.all("a")]
