import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from db.models import FIRST_PROJECT, Shard
from db.repositories import accounts, credentials, operations, simulators
from db.session import transaction
from db.shards import sweeping
from db.shards.fences import Fence
from services.api.app import create_api
from services.api.site import Site
from tests.builders import claim_shard, digest_of, record_shard
from tests.fixtures.api import SERIES, SIMULATOR, in_process, trace_bytes

pytestmark = pytest.mark.anyio


async def numbers(http):
    """Every sample by name and label values."""
    answer = await http.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def submitted(http, rows):
    rows.register_simulator()
    digest = rows.add_trace("boot")
    chosen = (await http.post("/api/v1/patch_sets", json=SERIES)).json()["id"]
    body = {"traces": [digest], "patch_sets": [chosen], "plan": "each"}
    return (await http.post("/api/v1/batches", json=body)).json()


def fence_of_only_shard(rows):
    with transaction(rows.engine) as session:
        row = session.execute(sa.select(Shard.id, Shard.attempt)).one()
    return Fence(row.id, row.attempt)


def claim(rows, fence):
    """A worker's nudge for that shard; it takes the best there is, and there is this one."""
    del fence
    with transaction(rows.engine) as session:
        found = claim_shard(
            session, worker="worker", worker_pid=1, simulator_digest=SIMULATOR, lease_seconds=60
        )
        if found is None:
            operations.count(session, operations.MESSAGES_DROPPED)
        return found


async def test_methods_that_strangers_invent_make_no_new_series(http, stranger):
    for number in range(5):
        answer = await stranger.request(f"INVENTED{number}", "/healthz")
        assert answer.status_code == 401
    text = (await http.get("/metrics")).text
    assert "INVENTED" not in text
    assert 'refault_requests_total{method="other",route="other",status="401"} 5.0' in text


async def test_a_quiet_service_counts_nothing_and_says_so(http):
    found = await numbers(http)
    assert found["refault_shards", "queued"] == 0
    assert found["refault_workers",] == 0
    for name in operations.TALLIES:
        assert found[f"refault_{name}_total",] == 0


async def test_the_depth_of_the_queue_follows_the_rows(http, rows):
    await submitted(http, rows)
    assert (await numbers(http))["refault_shards", "queued"] == 1
    claim(rows, fence_of_only_shard(rows))
    found = await numbers(http)
    assert (found["refault_shards", "queued"], found["refault_shards", "running"]) == (0, 1)
    assert found["refault_workers",] == 1


async def test_a_late_result_and_a_second_message_are_counted_as_dropped(http, rows):
    await submitted(http, rows)
    fence = fence_of_only_shard(rows)
    claim(rows, fence)
    assert claim(rows, fence) is None
    with transaction(rows.engine) as session:
        session.execute(
            sa.update(Shard).values(lease_until=sa.func.now() - sa.text("interval '1 second'"))
        )
        sweeping.take_from_lost(session, fence, "gone")
    with transaction(rows.engine) as session:
        late = record_shard(session, fence, [], simulator_digest=SIMULATOR, worker="worker")
    assert late is False
    found = await numbers(http)
    assert found["refault_messages_dropped_total",] == 1
    assert found["refault_leases_expired_total",] == 1
    assert found["refault_results_dropped_total",] == 1


async def test_two_processes_show_the_same_uploads(api_settings, http, rows, token):
    data = trace_bytes()
    for _ in range(2):
        answer = await http.post("/api/v1/traces", content=data)
        assert answer.is_success
    other = create_api(api_settings)
    async with in_process(Site(other, None), token) as second:
        found = await numbers(second)
    other.state.resources.close()
    assert found["refault_uploads_total",] == 1
    assert found["refault_uploaded_bytes_total",] == len(data)


async def test_the_speed_of_a_variant_is_what_was_replayed_in_the_last_hour(http, rows):
    rows.ready_for_seed_series()
    with transaction(rows.engine) as session:
        session.execute(
            sa.text("UPDATE results SET created_at = now() - interval '61 minutes'"
                    " WHERE trace_digest = :old"),
            {"old": digest_of("linux61-boot-1cpu")},
        )  # fmt: skip
        expected = {
            (digest, events / 3600)
            for digest, events in session.execute(
                sa.text("SELECT variant_digest, event_count FROM results"
                    " JOIN traces ON digest = trace_digest"
                        " WHERE trace_digest = :new"),
                {"new": digest_of("linux61-workload-1cpu")},
            )
        }  # fmt: skip
    found = await numbers(http)
    name = "refault_replayed_events_per_second"
    got = {(key[2], value) for key, value in found.items() if key[0] == name}
    assert got == {(digest[:12], speed) for digest, speed in expected}


async def test_requests_are_counted_by_route_and_status_without_their_ids(
    api_settings, rows, token
):
    api = create_api(api_settings)
    async with in_process(Site(api, None), token) as http:
        for name in ("b-2222", "b-3333"):
            await http.get(f"/api/v1/batches/{name}")
        await http.get("/nowhere")
        found = await numbers(http)
    api.state.resources.close()
    route = "/api/v1/batches/{batch}"
    assert found["refault_requests_total", "GET", route, "404"] == 2
    assert found["refault_requests_total", "GET", "other", "404"] == 1
    assert found["refault_request_seconds_count", "GET", route] == 2


METRICS_TOKEN = "scrape-me-0123456789"


@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "10.0.0.7"])
@pytest.mark.parametrize("forwarded", [{}, {"x-forwarded-proto": "https"}, {"host": "localhost"}])
@pytest.mark.parametrize(
    ("settings", "shown", "status"),
    [
        ({}, None, 403),
        ({}, "", 403),
        ({"metrics_token": METRICS_TOKEN}, None, 403),
        ({"metrics_token": METRICS_TOKEN}, METRICS_TOKEN[:-1], 403),
        ({"metrics_token": METRICS_TOKEN}, "\xe9" * 20, 403),
        ({"metrics_token": METRICS_TOKEN}, METRICS_TOKEN, 200),
        ({"metrics_open": True}, None, 200),
    ],
)
async def test_metrics_are_for_who_shows_their_token_unless_opened_wherever_it_comes_from(
    api_settings, rows, client, forwarded, settings, shown, status
):
    """Behind a proxy every peer is this machine, and not every proxy says that it is one."""
    api = create_api(api_settings.model_copy(update=settings))
    headers = dict(forwarded)
    if shown is not None:
        headers["authorization"] = f"Bearer {shown}"
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    transport = httpx.ASGITransport(Site(api, None), client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://refault.test") as http:
        answer = await http.get("/metrics", headers=encoded)
    api.state.resources.close()
    assert answer.status_code == status
    if status == 403:
        assert "REFAULT_METRICS_TOKEN" in answer.json()["detail"]


async def test_metrics_of_all_projects_are_for_operators_and_not_for_maintainers(site, rows):
    rows.add_user("anna", "maintainer")
    rows.add_user("root", is_admin=True)
    ids = {}
    with transaction(rows.engine, FIRST_PROJECT) as opened:
        for name in ("anna", "root"):
            user = accounts.get_user(opened, name)
            given = {"scopes": ["read", "admin"], "user_id": user.id}
            ids[name] = credentials.mint_token(opened, name, **given)[1]
    expected = {
        rows.mint_token(): 200,
        rows.mint_token(["read", "upload", "submit"]): 403,
        ids["anna"]: 403,
        ids["root"]: 200,
        "rft_" + "A" * 43: 403,
    }
    for secret, status in expected.items():
        async with in_process(site, secret) as http:
            assert (await http.get("/metrics")).status_code == status


async def test_readiness_says_which_migration_is_missing_and_what_to_run(http, rows):
    with transaction(rows.engine) as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    part = (await http.get("/readyz")).json()["parts"]["schema"]
    assert part["state"] == "unavailable"
    assert "0001" in part["detail"]
    assert "python -m db upgrade" in part["remedy"]


async def test_readiness_writes_to_the_storage_to_know(http, rows, api_settings):
    incoming = api_settings.blobs / "incoming"
    incoming.write_text("a file where the folder should be")
    part = (await http.get("/readyz")).json()["parts"]["storage"]
    assert part["state"] == "unavailable"
    assert "REFAULT_BLOBS" in part["remedy"]
    incoming.unlink()
    assert (await http.get("/readyz")).json()["parts"]["storage"]["state"] == "ok"
    assert not rows.files()


async def test_a_worker_that_is_not_heard_of_is_not_counted(http, rows):
    rows.register_simulator()
    with transaction(rows.engine) as session:
        assert len(simulators.alive_workers(session)) == 1
        session.execute(sa.text("UPDATE workers SET heartbeat_at = now() - interval '1 hour'"))
    assert (await numbers(http))["refault_workers",] == 0
