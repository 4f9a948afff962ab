"""A session of a project: other projects' rows are not there, however they are asked for."""

import uuid

import pytest
import sqlalchemy as sa

from db import session as sessions
from db.models import FIRST_PROJECT, Batch, Owned, PatchSet, Project, Run, Shard, Trace
from db.repositories import batches, credentials, files, patch_sets, runs, traces
from db.scope import EVERYWHERE
from refault.errors import NotFound
from tests.builders import digest_of

OTHER = uuid.UUID("01900000-0000-7000-8000-0000000000ff")
OWNED = [mapper.class_ for mapper in sa.orm.configure_mappers() or Trace.registry.mappers]
OWNED = sorted((cls for cls in OWNED if issubclass(cls, Owned)), key=lambda cls: cls.__name__)


@pytest.fixture
def other(store):
    """Opens sessions of a second project; the first one has a planned batch."""
    batch, _ = store.plan()
    with sessions.transaction(store.engine, FIRST_PROJECT) as session:
        credentials.mint_token(session, "ci", scopes=["read"])
        credentials.share(session, batch, "user anna", None)
    with sessions.transaction(store.engine) as session:
        session.add(Project(id=OTHER, name="other"))
    return lambda: sessions.transaction(store.engine, OTHER)


@pytest.mark.parametrize("model", OWNED, ids=lambda model: model.__name__)
def test_every_statement_asks_for_the_project(other, store, model):
    statements = []

    def note(connection, cursor, statement, *_):
        statements.append(statement)

    key = tuple(uuid.UUID(int=0) for _ in sa.inspect(model).primary_key)
    sa.event.listen(store.engine, "before_cursor_execute", note)
    with other() as session:
        assert session.get(model, key) is None
        assert session.scalars(sa.select(model)).unique().all() == []
        assert session.scalar(sa.select(sa.func.count()).select_from(model)) == 0
        session.execute(sa.delete(model))
    assert len(statements) == 4
    for statement in statements:
        assert f"{model.__tablename__}.project_id = " in statement


@pytest.mark.parametrize("model", [Batch, PatchSet, Run, Shard, Trace])
def test_no_row_of_another_project_is_seen(other, store, model):
    everywhere = sa.select(sa.func.count()).select_from(model).execution_options(**EVERYWHERE)
    with sessions.transaction(store.engine) as session:
        row_id = session.scalar(sa.select(model.id).limit(1))
        count = session.scalar(everywhere)
    with other() as session:
        assert session.get(model, row_id) is None
        assert session.execute(sa.select(model.id)).all() == []
        assert session.scalar(everywhere) == count > 0


def test_no_row_of_another_project_is_changed_or_removed(other, store):
    with other() as session:
        assert session.execute(sa.update(Trace).values(name="mine")).rowcount == 0
        assert session.execute(sa.delete(Run)).rowcount == 0
        assert session.execute(sa.update(Shard).values(error="mine")).rowcount == 0
    assert store.count(Run) > 0


def test_a_batch_of_another_project_is_unknown_by_id_and_by_code(other, store):
    with sessions.transaction(store.engine, FIRST_PROJECT) as session:
        batch = session.scalars(sa.select(Batch)).one()
        run = runs.list_page(session, batch.id).rows[0]
    with other() as session:
        for name in (batch.id, batch.code):
            with pytest.raises(NotFound):
                batches.get(session, name)
        with pytest.raises(NotFound):
            runs.get(session, run.id)
        with pytest.raises(NotFound):
            traces.get(session, digest_of("boot"))
        assert files.is_needed(session, digest_of("boot"))


def test_two_projects_have_the_same_trace_and_patch_set_each_of_its_own(other, store):
    first = store.add_trace()
    columns = {
        column.key: getattr(first, column.key)
        for column in sa.inspect(Trace).column_attrs
        if column.key not in ("id", "project_id", "created_at")
    }
    with sessions.transaction(store.engine, FIRST_PROJECT) as session:
        series = patch_sets.list_page(session).rows[0]
        wanted = patch_sets.to_catalogue(series)
    with other() as session:
        second, created = traces.add(session, **columns)
        mine, is_new = patch_sets.add(session, series.name, wanted)
    assert created
    assert is_new
    assert (second.project_id, mine.project_id) == (OTHER, OTHER)
    assert second.id != first.id
    assert mine.digest == series.digest


def test_rows_of_a_session_without_a_project_cannot_be_written_by_mistake(store):
    with (
        pytest.raises(RuntimeError, match="has no project"),
        sessions.transaction(store.engine) as session,
    ):
        traces.add(session, digest=digest_of("x"))
