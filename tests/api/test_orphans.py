"""Files whose row was never written, because the process that put them in place was killed."""

import os

import pytest
import sqlalchemy as sa

from db.repositories import placements
from services.api import housekeeping
from services.api.traces import intake
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
    monkeypatch.setattr(intake, "_drop_orphan", lambda *_: None)

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(intake.traces, "add", die)
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

    monkeypatch.setattr(intake.traces, "add", fail)
    answer = await http.post(TRACES, content=trace_bytes())

    assert answer.status_code == 503
    assert rows.files() == []
    assert await _placements(rows) == 0


async def _placements(rows):
    with transaction(rows.engine) as session:
        return session.scalar(sa.text("SELECT count(*) FROM placements"))
