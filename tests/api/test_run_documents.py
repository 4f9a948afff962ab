"""The documents beside a run's result: read by who may read the run, refused with the reason."""

import pytest

from db.repositories import documents
from db.session import transaction
from refault.attribution import Attribution
from refault.client import AsyncClient
from refault.timeline import Timeline
from tests.api.test_batch_life import fail_what_waits, seed_batch
from tests.api.test_batches import queued_batch
from tests.builders import make_run_documents
from tests.fixtures.api import SIMULATOR, in_process, runs_of

pytestmark = pytest.mark.anyio


async def documented(http, rows):
    """A run with documents, and its id."""
    batch = await seed_batch(http, rows)
    run = (await runs_of(http, batch["code"]))[0]
    digests = (run["trace_digest"], run["variant"]["digest"], SIMULATOR)
    with transaction(rows.engine) as session:
        documents.write(session, make_run_documents(*digests))
    return run["id"]


async def test_both_documents_are_read_whole(site, http, rows, token):
    run = await documented(http, rows)
    answer = (await http.get(f"/api/v1/runs/{run}/timeline")).json()
    timeline = Timeline.from_dict(answer["timeline"])
    assert (answer["key"], answer["digest"]) == (timeline.key.digest, timeline.digest)
    async with AsyncClient.in_process(site, "http://refault.test", token=token) as client:
        found = await client.get_attribution(run)
        assert Attribution.from_dict(found["attribution"]).digest == found["digest"]
        assert (await client.get_timeline(run))["key"] == answer["key"]


async def test_a_result_of_before_says_how_to_get_one(http, rows):
    batch = await seed_batch(http, rows)
    run = (await runs_of(http, batch["code"]))[0]["id"]
    answer = await http.get(f"/api/v1/runs/{run}/attribution")
    assert answer.status_code == 404
    assert "`refault profile` makes one" in answer.json()["detail"]


async def test_a_run_without_a_result_says_so(http, rows):
    code = await queued_batch(http, rows)
    found = (await runs_of(http, code))[0]
    run = found["id"]
    # Another project's run of the same may have left one: that must not show.
    with transaction(rows.engine) as session:
        digests = (found["trace_digest"], found["variant"]["digest"], SIMULATOR)
        documents.write(session, make_run_documents(*digests))
    answer = await http.get(f"/api/v1/runs/{run}/timeline")
    assert answer.status_code == 404
    assert "is queued: its timeline comes with its result" in answer.json()["detail"]
    fail_what_waits(rows)
    answer = await http.get(f"/api/v1/runs/{run}/timeline")
    assert "is failed" in answer.json()["detail"]


async def test_another_project_has_no_such_run(site, http, rows):
    run = await documented(http, rows)
    other = rows.add_project("other")
    async with in_process(site, rows.mint_token(project=other)) as stranger:
        for kind in ("timeline", "attribution"):
            answer = await stranger.get(f"/api/v1/runs/{run}/{kind}")
            assert answer.status_code == 404
            assert "no run" in answer.json()["detail"]
