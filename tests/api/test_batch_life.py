"""Resumed, retried, stale, not to be trusted: what a batch says of itself over HTTP."""

import pytest
import sqlalchemy as sa

from db.models import Result
from db.repositories import simulators
from db.shards import endings
from tests.api.test_batches import BATCHES, events_of, patch_set, queued_batch
from tests.builders import claim_shard, digest_of, transaction
from tests.fixtures.api import SIMULATOR, runs_of

pytestmark = pytest.mark.anyio


def fail_what_waits(rows):
    with transaction(rows.engine) as session:
        claim = claim_shard(
            session, worker="worker", worker_pid=1, simulator_digest=SIMULATOR, lease_seconds=60
        )
        endings.fail(session, claim.fence, "byte 17: not a trace")


async def seed_batch(http, rows):
    digests = rows.ready_for_seed_series()
    body = {"traces": digests, "patch_sets": [await patch_set(http)], "plan": "series"}
    return (await http.post(BATCHES, json=body)).json()


async def test_a_cancelled_batch_is_resumed_and_its_story_does_not_end_at_the_cancel(http, rows):
    code = await queued_batch(http, rows)
    await http.post(f"{BATCHES}/{code}/cancel")

    answer = await http.post(f"{BATCHES}/{code}/resume")

    assert answer.status_code == 200
    assert answer.json()["state"] == "queued"
    assert answer.json()["progress"]["cancelled"] == 0
    assert "sweep sends the rest" in answer.json()["notice"]
    assert (await http.post(f"{BATCHES}/{code}/resume")).status_code == 409
    await http.post(f"{BATCHES}/{code}/cancel")
    story = events_of((await http.get(f"{BATCHES}/{code}/events")).text)
    kinds = [data["kind"] for _, _, data in story]
    assert kinds.count("batch.cancelled") == 2
    assert "batch.resumed" in kinds
    assert [event for event, _, _ in story].count("finished") == 1
    assert story[-1][0] == "finished"


async def test_a_failed_batch_is_retried_and_says_where_it_is_not_possible(http, rows):
    code = await queued_batch(http, rows)
    assert (await http.post(f"{BATCHES}/{code}/retry")).status_code == 409
    fail_what_waits(rows)
    assert (await http.get(f"{BATCHES}/{code}")).json()["state"] == "failed"

    answer = await http.post(f"{BATCHES}/{code}/retry?crashed=true")

    assert answer.json()["state"] == "queued"
    assert answer.json()["progress"]["failed"] == 0
    assert [run["error"] for run in await runs_of(http, code)] == [None]


async def test_one_failed_cell_is_retried_by_its_trace_and_variant(http, rows):
    code = await queued_batch(http, rows)
    fail_what_waits(rows)
    [run, *_] = await runs_of(http, code)
    cell = {"trace": run["trace_digest"], "variant": run["variant"]["digest"]}

    other = await http.post(f"{BATCHES}/{code}/retry", params=cell | {"variant": "0" * 64})
    wrong = await http.post(f"{BATCHES}/{code}/retry", params={"trace": "boot"})
    answer = await http.post(f"{BATCHES}/{code}/retry", params=cell)

    assert (other.status_code, wrong.status_code) == (404, 422)
    assert answer.status_code == 200, answer.text
    states = {row["id"]: row["state"] for row in await runs_of(http, code)}
    assert states.pop(run["id"]) == "queued"
    assert set(states.values()) <= {"failed"}
    assert (await http.post(f"{BATCHES}/{code}/retry", params=cell)).status_code == 409


async def test_the_page_of_a_failed_batch_says_how_to_retry_it(http, rows):
    code = await queued_batch(http, rows)
    fail_what_waits(rows)
    page = (await http.get(f"/batches/{code}")).text
    assert f"POST /api/v1/batches/{code}/retry" in page
    assert "runs the 1 failed run again" in page
    assert "byte 17: not a trace" in page


async def test_results_of_an_older_simulator_are_marked_stale_everywhere(http, rows):
    batch = await seed_batch(http, rows)
    code = batch["code"]
    run = (await runs_of(http, code))[0]["id"]
    assert batch["is_stale"] is False
    text = (await http.get(f"/api/v1/comparisons/{code}.txt")).text
    assert "STALE" not in text
    with transaction(rows.engine) as session:
        simulators.ended(session, "worker", in_order=True)
        simulators.register(
            session,
            name="w2",
            simulators={"shadow": digest_of("newer")},
            semantics_version=2,
            host="h",
            pid=2,
        )

    assert (await http.get(f"{BATCHES}/{code}")).json()["is_stale"] is True
    assert (await http.get(BATCHES)).json()["items"][0]["is_stale"] is True
    assert (await http.get(f"/api/v1/runs/{run}")).json()["is_stale"] is True
    document = (await http.get(f"/api/v1/comparisons/{code}")).json()
    assert all(entry["is_stale"] for entry in document["comparisons"])
    text = (await http.get(f"/api/v1/comparisons/{code}.txt")).text
    assert text.count("STALE") == 1
    assert digest_of("newer")[:12] in text
    assert max(map(len, text.splitlines())) <= 72
    assert "STALE" in (await http.get(f"/api/v1/comparisons/{code}.md")).text
    assert (await http.get(f"/api/v1/comparisons/{code}.csv")).text.splitlines()[1].endswith("true")
    assert 'id="stale"' in (await http.get(f"/batches/{code}")).text


async def test_a_new_batch_never_takes_a_result_of_an_older_simulator(http, rows):
    old = await seed_batch(http, rows)
    with transaction(rows.engine) as session:
        simulators.ended(session, "worker", in_order=True)
        simulators.register(
            session,
            name="w2",
            simulators={"shadow": digest_of("newer")},
            semantics_version=2,
            host="h",
            pid=2,
        )
    body = {
        "traces": [trace["digest"] for trace in old["traces"]],
        "patch_sets": [old["patch_sets"][0]["id"]],
        "plan": "series",
    }
    new = (await http.post(BATCHES, json=body)).json()
    assert new["code"] != old["code"]
    assert (new["progress"]["cached"], new["is_stale"]) == (0, False)


async def test_an_integrity_alarm_shows_wherever_its_cell_does(http, rows):
    batch = await seed_batch(http, rows)
    code = batch["code"]
    run = (await runs_of(http, code))[1]
    alarm = {"stored_digest": "a" * 64, "other_digest": "b" * 64, "worker": "w", "at": "now"}
    with transaction(rows.engine) as session:
        session.execute(
            sa.update(Result)
            .where(
                Result.trace_digest == run["trace_digest"],
                Result.variant_digest == run["variant"]["digest"],
            )
            .values(integrity_alarm=alarm)
        )

    found = (await http.get(f"{BATCHES}/{code}")).json()
    assert found["integrity_alarms"] == 1
    flags = [entry["has_integrity_alarm"] for entry in await runs_of(http, code)]
    assert flags.count(True) == 1
    assert flags[1]
    assert (await http.get(BATCHES)).json()["items"][0]["integrity_alarms"] == 1
    assert (await http.get(f"/api/v1/runs/{run['id']}")).json()["integrity_alarm"] == alarm
    text = (await http.get(f"/api/v1/comparisons/{code}.txt")).text
    assert "INTEGRITY ALARM" in text
    assert "gave bbbbbbbbbbbb" in text
    assert "INTEGRITY ALARM" in (await http.get(f"/api/v1/comparisons/{code}.md")).text
    assert ",integrity," in (await http.get(f"/api/v1/comparisons/{code}.csv")).text
    document = (await http.get(f"/api/v1/comparisons/{code}")).json()
    assert document["comparisons"][0]["verdict"]["name"] == "integrity"
    page = (await http.get(f"/batches/{code}")).text
    assert 'id="integrity"' in page
    assert "Integrity alarm" in page
