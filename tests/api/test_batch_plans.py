"""Plans, traces by query, and dry runs over HTTP."""

import io
from pathlib import Path

import pytest
import sqlalchemy as sa

from db.models import Batch, BatchColumn, Run, Shard, Trace, Variant
from db.repositories import batches, results
from refault.trace import TraceReader
from refault.trace.importers.registry import HOST_LOG, Wanted
from services.api.batches import refusals
from tests.api.test_batches import BATCHES, SERIES, patch_set
from tests.builders import claim_shard, digest_of, make_result, record_shard, transaction
from tests.fixtures.api import SIMULATOR, runs_of, trace_bytes

LOG = Path(__file__).parents[1] / "trace/hostlog/samples/kvmmmu-linux6.6.v6.dat"

pytestmark = pytest.mark.anyio

DRY = f"{BATCHES}?dry_run=true"


def rows_of(rows):
    with transaction(rows.engine) as session:
        return [
            session.scalar(sa.select(sa.func.count()).select_from(model))
            for model in (Batch, BatchColumn, Run, Shard, Variant)
        ]


async def test_an_ablation_shows_what_each_patch_is_worth_and_what_cannot_be_left_out(http, rows):
    rows.register_simulator()
    front = {"name": "front", "patches": ["zap-return-self", "zap-batch"]}
    body = {"traces": [rows.add_trace("boot")], "patch_sets": [await patch_set(http, front)]}

    batch = (await http.post(BATCHES, json=body | {"plan": "ablation"})).json()

    assert [column["label"] for column in batch["columns"]] == [
        "front", "without zap-batch",
    ]  # fmt: skip
    [refused] = batch["refused"]
    assert refused["label"] == "without zap-return-self"
    assert "sits on" in refused["reason"]
    assert batch["plan"] == "ablation"


async def test_a_matrix_has_a_column_per_combination(http, rows):
    rows.register_simulator()
    body = {
        "traces": [rows.add_trace("boot")],
        "patch_sets": [await patch_set(http)],
        "plan": "matrix",
        "axes": {"page_limit": [None, {"first": 400, "then": 64, "every": 32768}], "tlb": [0, 1]},
    }

    batch = (await http.post(BATCHES, json=body)).json()

    assert [column["label"].partition(" page")[2] for column in batch["columns"]] == [
        "-limit=default tlb=0",
        "-limit=default tlb=1",
        "-limit=400/64/32768 tlb=0",
        "-limit=400/64/32768 tlb=1",
    ]
    assert batch["progress"]["total"] == 4


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"plan": "matrix"}, "/axes"),
        ({"plan": "each", "axes": {"tlb": [1]}}, "/axes"),
        ({"plan": "matrix", "axes": {"tlb": []}}, "/axes/tlb"),
        ({"plan": "matrix", "axes": {"page_limit": [0]}}, "/axes/page_limit"),
        (
            {"plan": "matrix", "axes": {"page_limit": [{"first": 0, "then": 1, "every": 1}]}},
            "/axes/page_limit",
        ),
        ({"plan": "matrix", "axes": {"base": ["v9"]}}, "/axes/base"),
        ({"priority": 10}, "/priority"),
        ({"trace_query": {"q": "no such"}}, "/trace_query"),
    ],
)
async def test_a_plan_that_cannot_be_is_refused_with_its_place(http, rows, change, pointer):
    rows.register_simulator()
    body = {"traces": [rows.add_trace("boot")], "patch_sets": [await patch_set(http)]}

    answer = await http.post(BATCHES, json=body | change)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await http.get(BATCHES)).json()["items"] == []


async def test_traces_are_found_by_name_and_content_in_the_order_they_came(http, rows):
    rows.register_simulator()
    for name, content in (("b-boot", "capture"), ("a-boot", "capture"), ("boot", "operations")):
        rows.add_trace(name, content=content)
    body = {
        "trace_query": {"q": "BOOT", "content": "capture"},
        "patch_sets": [await patch_set(http)],
    }

    batch = (await http.post(BATCHES, json=body)).json()

    assert [trace["name"] for trace in batch["traces"]] == ["b-boot", "a-boot"]


async def test_a_dry_run_says_what_is_known_and_writes_nothing(http, rows):
    digests = rows.ready_for_seed_series()
    rows.register_simulator("another worker")
    body = {
        "traces": [*digests, rows.add_trace("new", size_bytes=1000, event_count=500)],
        "patch_sets": [await patch_set(http)],
        "plan": "series",
    }
    before = rows_of(rows)

    answer = await http.post(DRY, json=body)

    found = answer.json()
    assert answer.status_code == 200
    assert "location" not in answer.headers
    assert (found["traces"], found["cells"], found["cached"], found["to_run"]) == (3, 15, 10, 5)
    # A shard for each worker, and each reads the trace once.
    assert (found["shards"], found["bytes_to_read"], found["events_to_replay"]) == (2, 2000, 2500)
    assert found["workers"] == 2
    assert found["seconds"] is None
    assert "nothing is known yet" in found["basis"]
    assert rows_of(rows) == before


async def test_a_dry_run_of_known_results_takes_no_time(http, rows):
    digests = rows.ready_for_seed_series()
    body = {"traces": digests, "patch_sets": [await patch_set(http)], "plan": "series"}

    found = (await http.post(DRY, json=body)).json()

    assert (found["to_run"], found["seconds"], found["bytes_to_read"]) == (0, 0.0, 0)
    assert "nothing is simulated" in found["basis"]


async def test_the_seconds_of_a_dry_run_come_from_what_the_last_shards_took(http, rows):
    rows.register_simulator()
    one = [await patch_set(http, {"name": "bare", "patches": []})]
    first = {"traces": [rows.add_trace("boot", event_count=1000)], "patch_sets": one}
    assert (await http.post(BATCHES, json=first)).status_code == 201
    with transaction(rows.engine) as session:
        claim = claim_shard(
            session, worker="worker", worker_pid=1, simulator_digest=SIMULATOR, lease_seconds=60
        )
        [run] = claim.runs
        result = make_result(trace="boot", variant_digest=run.variant_digest)
        record_shard(
            session,
            claim.fence,
            [results.Outcome(run.variant_digest, result)],
            simulator_digest=SIMULATOR,
            worker="worker",
        )
        # 1000 events of one variant in two seconds.
        session.execute(
            sa.update(Shard).values(started_at=Shard.finished_at - sa.text("interval '2 seconds'"))
        )
    second = {"traces": [rows.add_trace("big", event_count=50_000)], "patch_sets": one}

    found = (await http.post(DRY, json=second)).json()

    assert found["seconds"] == pytest.approx(100)
    assert "500 events" in found["basis"]
    assert digest_of("simulator") == found["simulator_digest"]


async def test_asking_for_the_same_with_more_urgency_moves_it_up(http, rows):
    rows.register_simulator()
    body = {"traces": [rows.add_trace("boot")], "patch_sets": [await patch_set(http, SERIES)]}
    first = (await http.post(BATCHES, json=body)).json()

    await http.post(BATCHES, json=body | {"priority": 8})
    lowered = (await http.post(BATCHES, json=body | {"priority": 1})).json()

    assert first["priority"] == 5
    assert (lowered["code"], lowered["priority"]) == (first["code"], 8)
    with transaction(rows.engine) as session:
        assert batches.get(session, first["code"]).priority == 8


async def test_a_trace_that_its_engine_cannot_replay_is_refused_before_anything_is_queued(
    http, rows
):
    rows.register_simulator()
    body = {
        "traces": [rows.add_trace("boot"), rows.add_trace("old guest", guest_mode="long5")],
        "patch_sets": [await patch_set(http)],
    }

    before = rows_of(rows)

    planned = (await http.post(DRY, json=body)).json()

    [refused] = planned["refused"]
    assert refused["label"] == planned["columns"][0]
    assert refused["reason"].startswith("old guest: a guest with five levels of page tables")
    assert (planned["cells"], planned["cached"], planned["to_run"]) == (2, 0, 1)
    assert (planned["shards"], planned["events_to_replay"]) == (1, 2_000_000)
    assert rows_of(rows) == before

    batch = (await http.post(BATCHES, json=body)).json()

    assert batch["refused"] == planned["refused"]
    assert (batch["state"], batch["progress"]["total"], batch["progress"]["failed"]) == (
        "queued", 2, 1,
    )  # fmt: skip
    states = {run["state"] for run in await runs_of(http, batch["code"])}
    assert states == {"queued", "failed"}
    again = await http.post(f"{BATCHES}/{batch['code']}/retry")
    assert again.status_code == 409
    assert "no engine can replay what failed" in again.json()["detail"]


async def test_a_batch_that_no_engine_can_replay_is_refused_with_the_reason(http, rows):
    rows.register_simulator()
    body = {
        "traces": [rows.add_trace("old guest", guest_mode="long5")],
        "patch_sets": [await patch_set(http)],
    }
    before = rows_of(rows)
    for path in (DRY, BATCHES):
        answer = await http.post(path, json=body)
        assert answer.status_code == 422
        assert "a guest with five levels of page tables" in answer.json()["detail"]
    assert rows_of(rows) == before


async def test_a_hosts_log_is_kept_and_refused_as_a_guest(http, rows, tmp_path):
    """What `refault import` makes of a real log: stored, not verified, and never replayed."""
    rows.register_simulator()
    path = tmp_path / "log.rft"
    HOST_LOG.convert(LOG, path, Wanted(name="log"))
    octets = {"content-type": "application/octet-stream"}
    stored = await http.post("/api/v1/traces", content=path.read_bytes(), headers=octets)
    assert stored.status_code == 201, stored.text
    assert stored.json()["header"]["origin"] == "host-events"
    asked = (await http.get("/api/v1/questions?kind=verification")).json()["items"]
    assert asked == []

    body = {"traces": [stored.json()["digest"]], "patch_sets": [await patch_set(http)]}
    answer = await http.post(BATCHES, json=body)
    assert answer.status_code == 422
    assert "it holds faults only" in answer.json()["detail"]


async def test_an_engine_is_asked_with_the_header_as_it_stands_in_the_file(http, rows):
    data = trace_bytes(name="whole", notes=("a note",), guest={"os": "Linux"})
    answer = await http.post(
        "/api/v1/traces", content=data, headers={"content-type": "application/octet-stream"}
    )
    assert answer.status_code == 201
    with transaction(rows.engine) as session:
        stored = refusals.header_of(session.scalars(sa.select(Trace)).one())
    with TraceReader(io.BytesIO(data)) as reader:
        assert stored == reader.header


async def test_a_matrix_is_answered_in_a_sentence_and_has_steps(http, rows):
    digests = rows.ready_for_seed_series()
    sets = [
        await patch_set(http, {"name": "plain", "patches": []}),
        await patch_set(http, {"name": "third", "patches": ["zap-account", "parent-stop-bit"]}),
    ]
    body = {"traces": digests, "patch_sets": sets, "plan": "matrix", "axes": {"bypass": [None, 0]}}
    code = (await http.post(BATCHES, json=body)).json()["code"]

    document = (await http.get(f"/api/v1/comparisons/{code}")).json()
    text = (await http.get(f"/api/v1/comparisons/{code}.txt")).text

    assert [(step["before"], step["label"]) for step in document["steps"]] == [
        ("plain bypass=default", "third bypass=default"),
        ("plain bypass=0", "third bypass=0"),
    ]
    assert document["answer"].startswith("third goes wrong under every combination: it changes")
    assert "Which to merge, each against the column without it" in text
