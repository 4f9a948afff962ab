"""A database of the first release, with rows in every table, comes to the present one unharmed."""

import uuid

import pytest
import sqlalchemy as sa

from db import schema
from db.errors import ServiceFault
from db.models import FIRST_PROJECT, Base, Batch, Identity, Result, Run, Shard, Trace, User
from db.repositories import accounts, identities, patch_sets, results
from db.session import create_engine, transaction
from db.shards.fences import Fence
from tests.builders import claim_shard, digest_of, make_result, record_shard

SIMULATOR, VARIANT, TRACE = (digest_of(name) for name in ("simulator", "variant", "trace"))
IDS = {name: f"0193000{index}-0000-7000-8000-000000000000" for index, name in enumerate("abcdefgh")}

# As the first release wrote them; a later one must never be needed to understand this.
FIRST_RELEASE = """
INSERT INTO patches (id, title, body) VALUES ('zap-account', 'A patch', '{}');
INSERT INTO simulators (digest, semantics_version) VALUES ('%(simulator)s', 1);
INSERT INTO workers (name, simulator_digest, host, pid) VALUES ('w1', '%(simulator)s', 'h', 1);
INSERT INTO variants (digest, name, base, patches, parameters, knobs)
  VALUES ('%(variant)s', 'zap', 'v2.6.34-pre', '["zap-account"]', '{}', '{"zap": 1}');
INSERT INTO patch_sets (id, name, base, parameters, digest, variant_digest)
  VALUES ('%(a)s', 'a set', 'v2.6.34-pre', '{}', '%(trace)s', '%(variant)s');
INSERT INTO patch_set_patches (patch_set_id, position, patch_id)
  VALUES ('%(a)s', 0, 'zap-account');
INSERT INTO traces (id, digest, name, content, guest_mode, vcpu_count, size_bytes, event_count,
                    instruction_count, truncated, events_by_kind, header)
  VALUES ('%(b)s', '%(trace)s', 'boot', 'capture', 'long', 1, 10, 20, 30, false, '{}', '{}');
INSERT INTO batches (id, code, plan, state, recompute, simulator_digest, content_digest,
                     run_count, done_count, cached_count, failed_count, cancelled_count)
  VALUES ('%(c)s', 'b-2222', 'each', 'running', false, '%(simulator)s', '%(trace)s', 2, 1, 1, 0, 0);
INSERT INTO batch_traces (batch_id, position, trace_id) VALUES ('%(c)s', 0, '%(b)s');
INSERT INTO batch_columns (batch_id, position, label, patch_set_id, variant_digest)
  VALUES ('%(c)s', 0, 'zap', '%(a)s', '%(variant)s');
INSERT INTO batch_events (batch_id, kind, body) VALUES ('%(c)s', 'batch.planned', '{}');
INSERT INTO shards (id, batch_id, trace_id, state, attempt, lost_count, events_done, events_total)
  VALUES ('%(d)s', '%(c)s', '%(b)s', 'queued', 2, 1, 0, 20);
INSERT INTO results (id, trace_digest, variant_digest, simulator_digest, outcome, crash, worker)
  VALUES ('%(e)s', '%(trace)s', '%(variant)s', '%(simulator)s', 'crashed', 'why', 'w1');
INSERT INTO runs (id, batch_id, trace_id, variant_digest, shard_id, position, state)
  VALUES ('%(f)s', '%(c)s', '%(b)s', '%(variant)s', '%(d)s', 0, 'queued');
INSERT INTO idempotency_keys (key, route, request_digest, status, response)
  VALUES ('k', '/x', '%(trace)s', 201, '{}');
"""


@pytest.fixture
def old(empty_database_url):
    engine = create_engine(empty_database_url)
    schema.upgrade(engine, "0001")
    text = FIRST_RELEASE % {**IDS, "simulator": SIMULATOR, "variant": VARIANT, "trace": TRACE}
    with engine.begin() as connection:
        connection.execute(sa.text(text.replace(":", r"\:")))
    yield engine
    engine.dispose()


def counts(engine):
    names = set(sa.inspect(engine).get_table_names()) - {"alembic_version"}
    with engine.connect() as connection:
        return {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in names}


def test_every_table_of_the_first_release_has_a_row_here(old):
    assert set(counts(old).values()) == {1}


def test_no_row_is_lost_on_the_way_up_and_the_models_read_them(old):
    before = counts(old)
    schema.upgrade(old)
    after = counts(old)
    assert {name: after[name] for name in before} == before
    assert schema.differences(old) == []
    with transaction(old, FIRST_PROJECT) as session:
        for mapper in Base.registry.mappers:
            session.scalars(sa.select(mapper.class_)).unique().all()
        batch = session.scalars(sa.select(Batch)).one()
        assert (batch.code, batch.state, batch.request_id) == ("b-2222", "running", None)
        assert session.scalars(sa.select(Trace)).one().digest == TRACE


def test_work_that_was_queued_before_the_upgrade_is_finished_after_it(old):
    schema.upgrade(old)
    with transaction(old) as session:
        shard = session.scalars(sa.select(Shard)).one()
        fence = Fence(shard.id, shard.attempt)
        # The crash of the first release is no result of this batch's run.
        session.execute(sa.update(Batch).values(recompute=True, done_count=0, cached_count=0))
        session.execute(sa.update(Batch).values(run_count=1))
    with transaction(old) as session:
        claim = claim_shard(
            session, worker="w1", worker_pid=1, simulator_digest=SIMULATOR, lease_seconds=60
        )
        assert [run.variant_digest for run in claim.runs] == [VARIANT]
    outcome = results.Outcome(VARIANT, make_result(trace="boot", variant_digest=VARIANT))
    with transaction(old) as session:
        assert record_shard(session, fence, [outcome], simulator_digest=SIMULATOR, worker="w1")
    with transaction(old, FIRST_PROJECT) as session:
        assert session.scalars(sa.select(Batch)).one().state == "done"
        assert session.scalars(sa.select(Run)).unique().one().state == "done"
        assert session.scalars(sa.select(Result)).one().outcome == "complete"
        assert patch_sets.get(session, uuid.UUID(IDS["a"])).patches == ("zap-account",)


def test_accounts_of_before_the_issuer_stay_as_they_are_there_and_back(old):
    schema.upgrade(old, "0008")
    user = "INSERT INTO users (id, name, password_hash) VALUES ('%s', '%s', 'hash')"
    with old.begin() as connection:
        connection.execute(sa.text(user % (IDS["g"], "anna")))
        connection.execute(sa.text(user % (IDS["h"], "bert")))
    schema.upgrade(old)
    with transaction(old) as session:
        # Nobody is invited by having no address, and two without one do not collide.
        assert [row.email for row in session.scalars(sa.select(User))] == [None, None]
        anna = accounts.get_user(session, "anna")
        identities.invite(session, anna, "anna@example.org")
        person = identities.Person("https://issuer.example", "1", "anna@example.org")
        assert identities.link_first_login(session, person, ()).id == anna.id
    schema.downgrade(old, "0008")
    with old.connect() as connection:
        rows = connection.execute(sa.text("SELECT name, password_hash FROM users ORDER BY name"))
        assert [tuple(row) for row in rows] == [("anna", "hash"), ("bert", "hash")]
    schema.upgrade(old)
    assert schema.differences(old) == []


@pytest.mark.parametrize("email", ["Anna@example.org", "anna", "a@b@c", "a b@c", ""])
def test_the_database_itself_takes_no_address_that_could_be_read_in_two_ways(engine, email):
    with pytest.raises(sa.exc.IntegrityError, match="email"), engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO users (id, name, email) VALUES (gen_random_uuid(), 'x', :email)"),
            {"email": email},
        )


def test_one_person_of_an_issuer_is_one_user_and_the_other_way_round(engine):
    with transaction(engine) as session:
        users = [accounts.add_user(session, name) for name in ("anna", "bert")]
    for user, subject in ((users[1], "1"), (users[0], "2")):
        pairs = [
            Identity(user_id=who, issuer="https://i.example", subject=name)
            for who, name in ((users[0].id, "1"), (user.id, subject))
        ]
        twice = pytest.raises(ServiceFault, match="a constraint of its tables was violated")
        with twice, transaction(engine) as session:
            session.add_all(pairs)


def test_the_way_down_keeps_what_the_first_release_knows(old):
    before = counts(old)
    schema.upgrade(old)
    schema.downgrade(old, "0001")
    after = counts(old)
    # Keys are kept for a day only; the way down forgets them and says so.
    assert after.pop("idempotency_keys") == 0
    del before["idempotency_keys"]
    assert after == before
