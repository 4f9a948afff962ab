"""What a shard may take: shown, set by maintainers, and refused beforehand where it is hopeless."""

import pytest

from refault.catalogue import SEED_SERIES
from refault.trace import EventKind
from services.api.app import create_api
from services.api.site import Site
from tests.api.test_batches import BATCHES
from tests.engines import exhausting
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio

LIMITS = "/api/v1/limits"
TRACES = "/api/v1/traces"
HOURS_OF_WORK = exhausting.dirty_logs(1 << 22).bytes()
MINUTES_OF_WORK = exhausting.dirty_logs(1 << 16).bytes()


@pytest.fixture
def with_little_memory(api_settings, rows):
    """A service whose workers may hold 128 MiB, so that a replay has 64."""
    api = create_api(api_settings.model_copy(update={"memory_limit_kib": 128 << 10}))
    yield Site(api, None)
    api.state.resources.close()


async def wanted(http, rows, trace):
    """A submission of the trace under two machines."""
    rows.register_simulator()
    patches = {"name": "two", "patches": list(SEED_SERIES[:2])}
    row = (await http.post("/api/v1/patch_sets", json=patches)).json()
    return {"traces": [trace["digest"]], "patch_sets": [row["id"]], "plan": "series"}


async def estimate(http, rows, trace):
    body = await wanted(http, rows, trace)
    answer = await http.post(BATCHES, json=body, params={"dry_run": "true"})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_project_has_the_time_of_the_service_until_it_sets_less(http, rows):
    found = (await http.get(LIMITS)).json()
    assert (found["shard_seconds"], found["shard_seconds_max"]) == (None, 3600)
    assert found["replay_memory_bytes"] == 3 << 30
    assert (await http.put(LIMITS, json={"shard_seconds": 90})).json()["shard_seconds"] == 90
    assert (await http.get(LIMITS)).json()["shard_seconds"] == 90
    assert (await http.put(LIMITS, json={"shard_seconds": None})).json()["shard_seconds"] is None
    assert (await http.get(LIMITS)).json()["shard_seconds"] is None


@pytest.mark.parametrize("seconds", [0, -1, 3601, 2**31, 1.5])
async def test_a_time_that_cannot_be_is_refused_with_its_place(http, rows, seconds):
    answer = await http.put(LIMITS, json={"shard_seconds": seconds})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/shard_seconds"
    assert (await http.get(LIMITS)).json()["shard_seconds"] is None


@pytest.mark.parametrize("scopes", [("read",), ("read", "upload", "submit")])
async def test_only_maintainers_set_it(site, rows, scopes):
    async with in_process(site, rows.mint_token(scopes=scopes)) as http:
        assert (await http.get(LIMITS)).status_code == 200
        assert (await http.put(LIMITS, json={"shard_seconds": 9})).status_code == 403
        assert (await http.get(LIMITS)).json()["shard_seconds"] is None


async def test_a_trace_that_no_worker_can_replay_in_time_is_refused_at_upload(http, rows):
    answer = await http.post(TRACES, content=HOURS_OF_WORK)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/trace-too-costly")
    assert "3600 s, the limit of the service" in answer.json()["detail"]
    assert (await http.get(TRACES)).json()["items"] == []
    assert rows.files() == []


async def test_a_trace_that_no_worker_can_hold_is_refused_at_upload(
    with_little_memory, rows, token
):
    async with in_process(with_little_memory, token) as http:
        answer = await http.post(TRACES, content=exhausting.written(20_000).bytes())
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/trace-too-costly")
        assert "a worker gives it 64 MiB" in answer.json()["detail"]
        assert "REFAULT_MEMORY_LIMIT_KIB" in answer.json()["detail"]
        assert rows.files() == []
        assert (await http.post(TRACES, content=exhausting.written(100).bytes())).is_success


async def test_what_a_replay_takes_stands_in_the_trace_and_in_the_estimate(http, rows):
    trace = (await http.post(TRACES, content=MINUTES_OF_WORK)).json()
    statistics = trace["statistics"]
    assert statistics["work"] == trace["event_count"] + (1 << 16) * 4096 * 25
    assert statistics["memory_bytes"] > 64 << 20
    found = await estimate(http, rows, trace)
    assert found["work"] == 2 * statistics["work"]
    assert found["memory_bytes"] == statistics["memory_bytes"]
    assert found["events_to_replay"] == 2 * trace["event_count"]


async def test_a_batch_that_is_hopeless_within_the_projects_time_is_refused(http, rows):
    trace = (await http.post(TRACES, content=MINUTES_OF_WORK)).json()
    await http.put(LIMITS, json={"shard_seconds": 60})
    body = await wanted(http, rows, trace)
    for parameters in ({}, {"dry_run": "true"}):
        answer = await http.post(BATCHES, json=body, params=parameters)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/trace-too-costly")
        assert answer.json()["errors"][0]["pointer"] == "/traces"
        assert "60 s, the limit of the project (shard_seconds)" in answer.json()["detail"]
    await http.put(LIMITS, json={"shard_seconds": None})
    assert (await http.post(BATCHES, json=body)).status_code == 201


async def test_an_honest_trace_of_operations_is_taken(http, rows):
    guest = exhausting.guest(1 << 16).add(EventKind.OP_LD, 1000, a=0)
    for _ in range(100):
        guest.add(EventKind.OP_LD, 1000, a=0).add(EventKind.OP_DIRTYLOG)
    assert (await http.post(TRACES, content=guest.bytes())).status_code == 201
