"""Results that were stored as crashes and are faults of the service: found, dropped, computed."""

import pytest

from db import verify
from db.blobs import FolderStore
from db.models import Result
from db.repositories import results
from db.repositories.dropping import is_foreign
from db.shards import reopening
from tests.builders import record_shard, transaction
from tests.fixtures.database import SIMULATOR

TRUE = (
    'Traceback (most recent call last):\n  File "/srv/refault/mmu/engine.py", line 134, in f\n'
    '    host.execute(ops, count)\n  File "/srv/refault/mmu/rmap.py", line 7, in g\n'
    "    x = frame[i]\nIndexError: list index out of range"
)
OF_A_CALLBACK = (
    '  File "/srv/refault/mmu/engine.py", line 90, in replay\n    progress(1, 2)\n'
    '  File "/srv/worker/lease.py", line 50, in report\n    self.x\nAttributeError: x'
)
LOCK_TIMEOUT = (
    "WHERE shards.id = %(pk)s::UUID FOR UPDATE\n[parameters: {'pk': 1}]\n"
    "(Background on this error at: https://sqlalche.me/e/20/e3q8)"
)


@pytest.mark.parametrize(
    ("crash", "foreign"),
    [(TRUE, False), (OF_A_CALLBACK, True), (LOCK_TIMEOUT, True), ("IndexError: row 7", False)],
)
def test_a_crash_is_the_simulators_if_its_traceback_ends_there(crash, foreign):
    assert is_foreign(crash) is foreign


def end_all(store, crash):
    """Every run of the next shard has crashed."""
    claim = store.claim_next()
    outcomes = [results.Outcome(run.variant_digest, crash=crash) for run in claim.runs]
    with transaction(store.engine) as session:
        record_shard(session, claim.fence, outcomes, simulator_digest=SIMULATOR, worker="w1")


def test_false_crashes_are_named_dropped_and_their_runs_computed_again(store, tmp_path):
    batch, _ = store.plan_one_shard()
    end_all(store, LOCK_TIMEOUT)
    # Another batch shows the same cell.
    second, _ = store.plan(patches=("zap-account", "parent-stop-bit"), plan="series")
    end_all(store, TRUE)
    blobs = FolderStore(tmp_path)
    shown = store.batch(second.id)
    assert shown.cached_count == 1

    def told():
        found = verify.live(store.engine, blobs, lambda *_: None)
        return [sentence for sentence in found if "has no blob" not in sentence]

    [sentence] = told()
    assert "--drop-false-crashes" in sentence
    assert "shards.id" not in sentence
    assert verify.drop_false_crashes(store.engine) == (1, 2)

    assert told() == []
    assert store.count(Result) == shown.run_count - 1
    assert {run.state for run in store.runs(batch.id)} == {"failed"}
    assert store.batch(batch.id).state == store.batch(second.id).state == "failed"
    assert store.batch(second.id).cached_count == 0
    with transaction(store.engine) as session:
        reopening.retry(session, batch.id)
    assert store.record(store.claim_next())
    assert store.batch(batch.id).state == "done"
    assert told() == []
    # Its cell had been found, and so never had a shard.
    with transaction(store.engine) as session:
        reopening.retry(session, second.id)
    while (claim := store.claim_next()) is not None:
        store.record(claim)
    assert store.batch(second.id).state == "done"
