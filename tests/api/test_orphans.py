"""Files whose row was never written, because the process that put them in place was killed."""

import os

import pytest
import sqlalchemy as sa

from db.errors import Conflict
from db.repositories import placements
from services.api import housekeeping
from services.api.traces import keeping
from tests.builders import put_blob, transaction
from tests.fixtures.api import trace_bytes

pytestmark = pytest.mark.anyio

TRACES = "/api/v1/traces"


class Killed(BaseException):
    """What stands for SIGKILL: nothing runs after it."""


async def test_a_file_whose_row_was_never_written_is_taken_away(
    http, site, rows, monkeypatch, caplog
):
    """The API killed in between once left a blob that nobody knew of."""
    resources = site.api.state.resources
    kept = await http.post(TRACES, content=trace_bytes(name="kept"))

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(keeping.orphans, "drop", lambda *_: None)
        patch.setattr(keeping.traces, "add", die)
        with pytest.raises(BaseException):  # noqa: B017, PT011  # the loop wraps it
            await http.post(TRACES, content=trace_bytes(name="lost"))
    assert len(rows.files()) == 2

    housekeeping.tidy_up(resources)
    assert len(rows.files()) == 2  # it may be of an upload that is just ending
    with transaction(rows.engine) as session:
        session.execute(sa.text("UPDATE placements SET created_at = now() - interval '2 hours'"))
    housekeeping.tidy_up(resources)

    assert [path.name for path in rows.files()] == [kept.json()["digest"]]
    assert "left by a process that died" in caplog.text
    assert await _placements(rows) == 0


async def test_a_file_that_got_its_row_from_another_upload_stays(http, site, rows):
    trace = (await http.post(TRACES, content=trace_bytes())).json()
    assert await _placements(rows) == 0
    with transaction(rows.engine) as session:
        placements.begin(session, trace["digest"])
        session.execute(sa.text("UPDATE placements SET created_at = now() - interval '2 hours'"))

    housekeeping.tidy_up(site.api.state.resources)

    assert [path.name for path in rows.files()] == [trace["digest"]]
    assert await _placements(rows) == 0


async def test_an_old_file_that_no_row_speaks_of_is_never_removed(site, rows):
    """The database may be an empty one, in front of somebody's whole store."""
    digest = put_blob(site.api.state.resources.blobs, trace_bytes())
    [file] = rows.files()
    os.utime(file, (0, 0))

    housekeeping.tidy_up(site.api.state.resources)

    assert [path.name for path in rows.files()] == [digest]


async def test_an_upload_that_fails_leaves_no_placement(http, rows, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping.traces, "add", fail)
    answer = await http.post(TRACES, content=trace_bytes())

    assert answer.status_code == 503
    assert rows.files() == []
    assert await _placements(rows) == 0


async def test_no_store_is_waited_for_within_a_transaction(http, site, rows, monkeypatch):
    """Deleting once held the locks of trace and batches while a bucket removed objects."""
    resources = site.api.state.resources
    seen = []

    def watch(store, name):
        do = getattr(store, name)

        def watched(*given):
            seen.append((name, resources.engine.pool.checkedout()))
            return do(*given)

        monkeypatch.setattr(store, name, watched)

    for name in ("put", "size_bytes", "fetch", "delete"):
        watch(resources.blobs, name)
    for name in ("kept", "erase", "of_shards"):
        watch(resources.snapshots, name)

    digest = (await http.post(TRACES, content=trace_bytes())).json()["digest"]
    code = (await submit(http, rows, digest))["code"]
    await http.post(f"/api/v1/batches/{code}/cancel")
    await http.head(f"/api/v1/blobs/{digest}")
    await http.get(f"/api/v1/blobs/{digest}")
    await http.delete(f"{TRACES}/{digest}", params={"dry_run": True})
    assert (await http.delete(f"{TRACES}/{digest}", params={"cascade": True})).status_code == 200
    with monkeypatch.context() as patch:
        patch.setattr(keeping.traces, "add", refuse)
        await http.post(TRACES, content=trace_bytes(name="lost"))
    with transaction(rows.engine) as session:
        placements.begin(session, put_blob(resources.blobs, trace_bytes(name="killed")))
        session.execute(sa.text("UPDATE placements SET created_at = now() - interval '2 hours'"))
    housekeeping.tidy_up(resources)

    assert {name for name, _ in seen} == {"put", "size_bytes", "fetch", "delete", "kept", "erase",
                                          "of_shards"}  # fmt: skip
    assert [name for name, connections in seen if connections] == []
    assert rows.files() == []


def refuse(*_, **__):
    raise OSError(28, "No space left on device")


async def submit(http, rows, digest):
    rows.register_simulator()
    series = {"name": "p", "base": "v2.6.34-pre", "patches": ["zap-account"]}
    patch_set = await http.post("/api/v1/patch_sets", json=series)
    body = {"traces": [digest], "patch_sets": [patch_set.json()["id"]]}
    return (await http.post("/api/v1/batches", json=body)).json()


async def test_a_file_that_is_being_removed_is_not_put_in_place_meanwhile(http, rows, site):
    trace = (await http.post(TRACES, content=trace_bytes())).json()
    resources = site.api.state.resources
    delete = resources.blobs.delete
    answers = []

    def upload_and_delete(digest):
        with transaction(rows.engine) as session, pytest.raises(Conflict) as refused:
            placements.begin(session, digest)
        answers.append(str(refused.value))
        return delete(digest)

    resources.blobs.delete = upload_and_delete
    assert (await http.delete(f"{TRACES}/{trace['digest']}")).status_code == 200

    assert "upload it again in a moment" in answers[0]
    assert rows.files() == []
    assert (await http.post(TRACES, content=trace_bytes())).status_code == 201
    assert [path.name for path in rows.files()] == [trace["digest"]]


async def test_a_file_that_somebody_puts_in_place_outlives_the_deletion_of_its_trace(http, rows):
    trace = (await http.post(TRACES, content=trace_bytes())).json()
    with transaction(rows.engine) as session:
        placements.begin(session, trace["digest"])

    assert (await http.delete(f"{TRACES}/{trace['digest']}")).status_code == 200

    assert [path.name for path in rows.files()] == [trace["digest"]]


async def test_a_file_whose_store_refuses_goes_with_the_next_sweep(http, rows, site, monkeypatch):
    trace = (await http.post(TRACES, content=trace_bytes())).json()
    with monkeypatch.context() as patch:
        patch.setattr(site.api.state.resources.blobs, "delete", refuse)
        answer = await http.delete(f"{TRACES}/{trace['digest']}")
    assert (answer.status_code, answer.json()["deleted"]) == (200, True)
    assert (await http.get(f"{TRACES}/{trace['digest']}")).status_code == 404
    with transaction(rows.engine) as session:
        session.execute(sa.text("UPDATE placements SET created_at = now() - interval '2 hours'"))

    housekeeping.tidy_up(site.api.state.resources)

    assert rows.files() == []
    assert await _placements(rows) == 0


async def _placements(rows):
    with transaction(rows.engine) as session:
        return session.scalar(sa.text("SELECT count(*) FROM placements"))
