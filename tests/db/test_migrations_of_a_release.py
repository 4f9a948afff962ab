"""A database of the release before this one, with rows in every table: up, used by both, and down.

Both releases are at work while an upgrade is under way, so what the one before writes is taken.
"""

import uuid

import pytest
import sqlalchemy as sa

from db import schema
from db.models import FIRST_PROJECT, Base, Placement, Result, ShareLink, Trace
from db.repositories import credentials, placements, results
from db.scope import Maker
from db.session import create_engine, transaction
from tests.builders import digest_of, make_result

RELEASE = "0010"
SIMULATOR, VARIANT, OTHER, TRACE = (
    digest_of(name) for name in ("simulator", "variant", "other", "trace")
)
IDS = {letter: f"0193000{place}-0000-7000-8000-000000000000" for place, letter in enumerate("abc")}

# As that release wrote them; a later one must never be needed to understand this.
ROWS = """
INSERT INTO users (id, name) VALUES ('%(a)s', 'anna'), ('%(b)s', 'bert');
INSERT INTO memberships (project_id, user_id, role)
  VALUES ('%(project)s', '%(a)s', 'contributor');
INSERT INTO identities (id, user_id, issuer, subject) VALUES ('%(a)s', '%(a)s', 'https://i', '1');
INSERT INTO login_flows (id, secret_digest, state_digest, nonce, code_verifier, target, expires_at)
  VALUES ('%(a)s', '%(trace)s', '%(trace)s', 'n', 'v', '/', now());
INSERT INTO login_sessions (id, secret_digest, user_id, expires_at)
  VALUES ('%(a)s', '%(trace)s', '%(a)s', now());
INSERT INTO tokens (id, secret_digest, name, scopes, user_id, project_id)
  VALUES ('%(a)s', '%(trace)s', 'ci', '["read"]', '%(a)s', '%(project)s');
INSERT INTO audit (id, actor, action, subject, detail) VALUES ('%(a)s', 'x', 'x', 'x', '{}');
INSERT INTO counter_limits (id, project_id, counter, permille)
  VALUES ('%(a)s', '%(project)s', 'tlb_hits', 5);
INSERT INTO rate_windows (key, started_at, done_count) VALUES ('k', now(), 1);
INSERT INTO tallies (name, value) VALUES ('t', 1);
INSERT INTO patches (id, title, body) VALUES ('zap-account', 'A patch', '{}');
INSERT INTO simulators (digest, semantics_version) VALUES ('%(simulator)s', 1);
INSERT INTO workers (name, simulator_digest, host, pid) VALUES ('w1', '%(simulator)s', 'h', 1);
INSERT INTO variants (digest, name, base, patches, parameters, knobs)
  VALUES ('%(variant)s', 'zap', 'v2.6.34-pre', '["zap-account"]', '{}', '{"zap": 1}');
INSERT INTO patch_sets (id, name, base, parameters, digest, variant_digest, project_id)
  VALUES ('%(a)s', 'a set', 'v2.6.34-pre', '{}', '%(trace)s', '%(variant)s', '%(project)s');
INSERT INTO patch_set_patches (patch_set_id, position, patch_id)
  VALUES ('%(a)s', 0, 'zap-account');
INSERT INTO traces (id, digest, name, content, guest_mode, vcpu_count, size_bytes, event_count,
                    instruction_count, truncated, events_by_kind, header, project_id)
  VALUES ('%(a)s', '%(trace)s', 'boot', 'capture', 'long', 1, 10, 20, 30, false, '{}', '{}',
          '%(project)s');
INSERT INTO uploads (id, project_id, state, size_bytes, offset_bytes, metadata_header, wishes,
                     expires_at)
  VALUES ('%(a)s', '%(project)s', 'open', 10, 5, '', '{}', now() + interval '1 day');
INSERT INTO placements (id, digest) VALUES ('%(a)s', '%(other)s');
INSERT INTO batches (id, code, plan, state, recompute, simulator_digest, content_digest,
                     run_count, done_count, cached_count, failed_count, cancelled_count,
                     finished_at, project_id)
  VALUES ('%(a)s', 'b-2222', 'each', 'done', false, '%(simulator)s', '%(trace)s', 1, 1, 0, 0, 0,
         now(), '%(project)s');
INSERT INTO batch_traces (batch_id, position, trace_id) VALUES ('%(a)s', 0, '%(a)s');
INSERT INTO batch_columns (batch_id, position, label, patch_set_id, variant_digest)
  VALUES ('%(a)s', 0, 'zap', '%(a)s', '%(variant)s');
INSERT INTO batch_events (batch_id, kind, body) VALUES ('%(a)s', 'batch.planned', '{}');
INSERT INTO shards (id, batch_id, trace_id, state, attempt, lost_count, events_done, events_total,
                    project_id)
  VALUES ('%(a)s', '%(a)s', '%(a)s', 'done', 1, 0, 20, 20, '%(project)s');
INSERT INTO runs (id, batch_id, trace_id, variant_digest, shard_id, position, state, result_id,
                  project_id)
  VALUES ('%(a)s', '%(a)s', '%(a)s', '%(variant)s', '%(a)s', 0, 'done', '%(a)s', '%(project)s');
INSERT INTO webhooks (id, url, events, secret, project_id)
  VALUES ('%(a)s', 'https://a.example/', '["batch.finished"]', 's', '%(project)s');
INSERT INTO webhook_deliveries (id, webhook_id, event, body, state, attempt_count, next_at)
  VALUES ('%(a)s', '%(a)s', 'batch.finished', '{}', 'waiting', 0, now());
INSERT INTO idempotency_keys (key, route, project_id) VALUES ('k', '/x', '%(project)s');
"""
RESULT = """
INSERT INTO results (id, trace_digest, variant_digest, simulator_digest, outcome, body,
                     body_digest, worker)
VALUES (:id, :trace, :variant, :simulator, 'complete', :body, :body_digest, 'w1')
"""
LINK = """
INSERT INTO share_links (id, secret_digest, batch_id, made_by, project_id, expires_at)
VALUES (:id, :secret_digest, :batch, :made_by, :project, NULL)
"""


def id_of(name):
    return uuid.UUID(digest_of(name)[:32])


def write_result(engine, row_id, variant_digest):
    result = make_result(trace="trace", variant_digest=variant_digest)
    columns = {
        "id": row_id, "trace": TRACE, "variant": variant_digest, "simulator": SIMULATOR,
        "body": result.to_dict(), "body_digest": result.digest,
    }  # fmt: skip
    statement = sa.text(RESULT).bindparams(sa.bindparam("body", type_=sa.JSON))
    with engine.begin() as connection:
        connection.execute(statement, columns)


def write_link(engine, row_id, made_by):
    with engine.begin() as connection:
        connection.execute(
            sa.text(LINK),
            {
                "id": row_id, "secret_digest": digest_of(str(row_id)), "batch": IDS["a"],
                "made_by": made_by, "project": FIRST_PROJECT,
            },
        )  # fmt: skip


@pytest.fixture
def old(empty_database_url):
    engine = create_engine(empty_database_url)
    schema.upgrade(engine, RELEASE)
    write_result(engine, IDS["a"], VARIANT)
    names = {"simulator": SIMULATOR, "variant": VARIANT, "trace": TRACE, "other": OTHER}
    names["project"] = str(FIRST_PROJECT)
    text = ROWS % {**IDS, **names}
    with engine.begin() as connection:
        connection.execute(sa.text(text.replace(":", r"\:")))
    for letter, made_by in (("a", "user anna"), ("b", "token ci"), ("c", "user gone")):
        write_link(engine, IDS[letter], made_by)
    yield engine
    engine.dispose()


def counts(engine):
    names = set(sa.inspect(engine).get_table_names()) - {"alembic_version"}
    with engine.connect() as connection:
        return {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in names}


def test_no_row_of_any_table_is_lost_on_the_way_up_or_down(old):
    before = counts(old)
    assert 0 not in before.values()
    schema.upgrade(old)
    after = counts(old)
    assert {name: after[name] for name in before} == before
    assert schema.differences(old) == []
    with transaction(old) as session:
        for mapper in Base.registry.mappers:
            session.scalars(sa.select(mapper.class_)).unique().all()
    schema.downgrade(old, RELEASE)
    assert counts(old) == before


def test_links_know_who_made_them_and_end(old):
    schema.upgrade(old)
    with transaction(old) as session:
        links = {str(link.id): link for link in session.scalars(sa.select(ShareLink))}
        anna, token = (links[IDS[letter]] for letter in "ab")
        assert (str(anna.user_id), anna.token_id) == (IDS["a"], None)
        assert (str(token.user_id), str(token.token_id)) == (IDS["a"], IDS["a"])
        assert (links[IDS["c"]].user_id, links[IDS["c"]].token_id) == (None, None)
        assert all(link.expires_at is not None for link in links.values())


def test_what_was_there_has_no_known_maker_and_is_everybodys(old):
    schema.upgrade(old)
    with transaction(old, FIRST_PROJECT) as session:
        trace = session.scalars(sa.select(Trace)).one()
        assert Maker(trace.user_id, trace.token_id) == Maker()
        known = results.find_many(
            session, [TRACE], [VARIANT], [SIMULATOR], project_id=FIRST_PROJECT
        )
        assert set(known) == {(TRACE, VARIANT)}


def test_results_get_their_facts_whichever_release_wrote_them(old):
    schema.upgrade(old)
    write_result(old, IDS["b"], OTHER)  # by a worker of the release before
    with transaction(old) as session:
        assert results.add_facts(session) is None
        rows = session.scalars(sa.select(Result)).all()
        assert len(rows) == 2
        assert all(row.facts is not None for row in rows)


def test_what_the_release_before_writes_after_the_upgrade_is_understood(old):
    schema.upgrade(old)
    write_link(old, id_of("link"), "user anna")
    with old.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO placements (id, digest) VALUES (:id, :digest)"),
            {"id": id_of("placement"), "digest": digest_of("arriving")},
        )
    with transaction(old) as session:
        link = session.get_one(ShareLink, id_of("link"))
        assert link.expires_at is None
        assert credentials.with_maker(session, link).holds
        link.created_at -= credentials.LINK_LIFETIME
        session.flush()
        assert not credentials.with_maker(session, link).holds
        assert not session.get_one(Placement, id_of("placement")).is_removal
        # Somebody is putting it in place: it is not removed meanwhile.
        assert placements.begin_removal(session, digest_of("arriving")) is None
