"""What is shared below, files and results, does not show through from one project to another."""

import hashlib

import pytest
import sqlalchemy as sa

from db import session as sessions
from db.models import FIRST_PROJECT, Run
from db.repositories import results, traces
from tests.api.test_resumable import TUS, UPLOADS, metadata
from tests.builders import claim_shard, make_result, record_shard
from tests.fixtures.api import SERIES, SIMULATOR, in_process, runs_of, trace_bytes

pytestmark = pytest.mark.anyio

DATA = trace_bytes(name="shared")
DIGEST = hashlib.sha256(DATA).hexdigest()
TRACES, BATCHES = "/api/v1/traces", "/api/v1/batches"
# What differs between two projects that are told the same.
OWN = {"trace", "id", "created_at", "updated_at", "patch_set", "code", "location"}


@pytest.fixture
async def second(site, rows):
    """The maintainer of another project."""
    async with in_process(site, rows.mint_token(project=rows.add_project("second"))) as client:
        yield client


async def wanted(http, **given):
    """A batch of the shared trace under the seed series, as its project asks for it."""
    chosen = (await http.post("/api/v1/patch_sets", json=SERIES)).json()["id"]
    return {"traces": [DIGEST], "patch_sets": [chosen], "plan": "series"} | given


def work(rows):
    """A worker takes whatever waits and computes it; how many shards it had to compute."""
    computed_count = 0
    with sessions.transaction(rows.engine) as opened:
        while claim := claim_shard(opened, worker="worker", simulator_digest=SIMULATOR):
            outcomes = [
                results.Outcome(
                    run.variant_digest,
                    make_result(trace_digest=DIGEST, variant_digest=run.variant_digest),
                )
                for run in claim.runs
            ]
            given = {"simulator_digest": SIMULATOR, "worker": "worker"}
            assert record_shard(opened, claim.fence, outcomes, **given)
            computed_count += 1
    return computed_count


async def run_in_first(http, rows):
    rows.register_simulator()
    assert (await http.post(TRACES, content=DATA)).status_code == 201
    batch = (await http.post(BATCHES, json=await wanted(http))).json()
    assert work(rows) > 0
    return (await http.get(f"{BATCHES}/{batch['code']}")).json()


async def told_of_a_deletion(second):
    trace = (await second.post(TRACES, content=DATA)).json()
    answers = [
        await second.delete(f"{TRACES}/{trace['id']}", params={"dry_run": dry})
        for dry in ("true", "false")
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    return [
        {key: value for key, value in answer.json().items() if key not in OWN} for answer in answers
    ]


async def test_a_deletion_tells_the_same_whether_another_project_has_the_file_or_not(
    http, second, rows
):
    alone = await told_of_a_deletion(second)
    await run_in_first(http, rows)

    assert await told_of_a_deletion(second) == alone
    assert (await http.get(f"/api/v1/blobs/{DIGEST}")).content == DATA


async def test_a_dry_run_tells_the_same_whether_another_project_ran_it_or_not(http, second, rows):
    rows.register_simulator()
    await second.post(TRACES, content=DATA)
    dry = {"params": {"dry_run": True}, "json": await wanted(second)}
    before = (await second.post(BATCHES, **dry)).json()
    assert (before["cached"], before["to_run"]) == (0, 5)
    await run_in_first(http, rows)

    after = (await second.post(BATCHES, **dry)).json()

    # How fast workers are is nobody's secret.
    told = {"seconds", "basis"}
    assert {k: v for k, v in after.items() if k not in told} == {
        k: v for k, v in before.items() if k not in told
    }
    own = await http.post(BATCHES, params={"dry_run": True}, json=await wanted(http))
    assert (own.json()["cached"], own.json()["to_run"]) == (5, 0)


async def test_a_dry_run_does_not_count_what_waits_in_other_projects(http, second, rows):
    rows.register_simulator()
    for client in (http, second):
        await client.post(TRACES, content=DATA)
    await http.post(BATCHES, json=await wanted(http))

    answer = await second.post(BATCHES, params={"dry_run": True}, json=await wanted(second))
    own = await http.post(BATCHES, params={"dry_run": True}, json=await wanted(http))

    assert answer.json()["queued_ahead"] == 0
    assert own.json()["queued_ahead"] > 0


async def test_a_batch_another_project_has_run_is_linked_by_a_worker_and_called_done(
    http, second, rows
):
    first = await run_in_first(http, rows)
    await second.post(TRACES, content=DATA)

    batch = (await second.post(BATCHES, json=await wanted(second))).json()

    # As if nobody had ever run it.
    assert (batch["state"], batch["progress"]["cached"], batch["progress"]["done"]) == (
        "queued", 0, 0,
    )  # fmt: skip
    # Never computed twice all the same.
    assert work(rows) == 0
    batch = (await second.get(f"{BATCHES}/{batch['code']}")).json()
    assert (batch["state"], batch["progress"]["done"], batch["progress"]["cached"]) == (
        "done",
        5,
        0,
    )
    assert {run["state"] for run in await runs_of(second, batch["code"])} == {"done"}
    forms = [
        (await client.get(f"/api/v1/comparisons/{each['code']}.csv")).text
        for client, each in ((http, first), (second, batch))
    ]
    assert forms[0] == forms[1]
    # What was linked once is known to the project.
    again = (await second.post(BATCHES, json=await wanted(second))).json()
    assert (again["state"], again["progress"]["cached"]) == ("done", 5)


async def test_results_of_an_earlier_release_are_nobody_elses_business_either(http, second, rows):
    """They do not say for whom they were computed."""
    await run_in_first(http, rows)
    with sessions.transaction(rows.engine) as opened:
        opened.execute(sa.text("UPDATE results SET project_id = NULL"))
    await second.post(TRACES, content=DATA)

    found = await second.post(BATCHES, params={"dry_run": True}, json=await wanted(second))
    own = await http.post(BATCHES, params={"dry_run": True}, json=await wanted(http))

    assert (found.json()["cached"], own.json()["cached"]) == (0, 5)


async def test_to_upload_another_projects_file_is_to_upload_a_new_one(http, second, rows):
    assert (await http.post(TRACES, content=DATA)).status_code == 201

    assert (await second.head(f"/api/v1/blobs/{DIGEST}")).status_code == 404
    assert (await second.get(f"/api/v1/blobs/{DIGEST}")).status_code == 404
    announced = await second.post(
        UPLOADS,
        headers=TUS | {"upload-length": str(len(DATA)), "upload-metadata": metadata(sha256=DIGEST)},
    )
    assert announced.headers["upload-offset"] == "0"
    assert (await second.put(f"/api/v1/blobs/{DIGEST}", content=DATA)).status_code == 201
    with sessions.transaction(rows.engine, FIRST_PROJECT) as opened:
        theirs = traces.find_by_digest(opened, DIGEST)
    listed = (await second.get(TRACES)).json()["items"]
    assert [trace["id"] for trace in listed] != [str(theirs.id)]


async def test_a_quota_does_not_count_what_others_have(site, http, rows):
    assert (await http.post(TRACES, content=DATA)).status_code == 201
    project = rows.add_project("small", quota_bytes=len(DATA) - 1)
    async with in_process(site, rows.mint_token(project=project)) as small:
        headers = TUS | {
            "upload-length": str(len(DATA)),
            "upload-metadata": metadata(sha256=DIGEST),
        }
        refused = [
            (await small.post(TRACES, content=DATA)).status_code,
            (await small.put(f"/api/v1/blobs/{DIGEST}", content=DATA)).status_code,
            (await small.post(UPLOADS, headers=headers)).status_code,
        ]
    assert refused == [507, 507, 507]


async def test_a_key_of_another_project_answers_nothing(http, second):
    key = {"idempotency-key": "the-same"}
    first = await http.post(TRACES, content=DATA, headers=key)
    other = await second.post(TRACES, content=DATA, headers=key)

    assert (first.status_code, other.status_code) == (201, 201)
    assert "idempotency-replayed" not in other.headers
    assert first.json()["id"] != other.json()["id"]


async def test_runs_keep_their_shard_unless_another_project_has_the_result(http, second, rows):
    """How fast a worker is, is reckoned from the runs of its shards: those it has computed."""
    await run_in_first(http, rows)
    await second.post(TRACES, content=DATA)
    batch = (await second.post(BATCHES, json=await wanted(second))).json()
    work(rows)
    with sessions.transaction(rows.engine) as opened:
        query = sa.select(Run.shard_id).where(Run.batch_id == sa.cast(batch["id"], sa.Uuid))
        assert set(opened.scalars(query)) == {None}
