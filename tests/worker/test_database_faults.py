"""Every error of the database at every statement of a worker: claim to record, beat and sweep.

A story is told over and over, each time with one fault in it: a shard that a dead worker left is
swept up, a worker beats, takes all that waits, puts its state aside, extends its lease and records.
The fault meets one statement, or that statement and all after it until patience has run out. Then
it is over, and everything must come to its end by itself.

``make test`` lets each statement fail once, with errors by turns; ``make faults`` goes on through
all pairs of statement and error, from a seed, for as long as it is told.
"""

import contextlib
import itertools
import json
import os
import random
import threading
import time
import types

import pytest
import sqlalchemy as sa

from db.models import BatchEvent, Result, Run, Shard
from db.shards import sweeping
from refault.catalogue import SEED_SERIES
from refault.errors import RefaultError
from refault.replay import session as simulator
from tests.builders import transaction
from tests.fixtures.database_faults import KINDS, SECRET, DatabaseFaults
from tests.patience import PATIENCE_SECONDS
from worker import lifecycle, shards
from worker.lease import Lease
from worker.sweep import sweep

SEED = int(os.environ.get("FAULTS_SEED", "0"))
MINUTES = float(os.environ.get("FAULTS_MINUTES", "0"))
MODES = ("once", "from then on")
TRIES_MAX = 20  # the thread of a lease tells the same in another order, or not at all
ROUNDS_MAX = 12  # a shard may be lost twice, and be the third's last


@pytest.fixture
def story(room, monkeypatch):
    settings = room.resources.settings.model_copy(
        update={"snapshot_seconds": 1e-6, "heartbeat_seconds": 0.005, "lease_seconds": 30}
    )
    object.__setattr__(room.resources, "settings", settings)
    monkeypatch.setattr(shards, "OUTAGE_PAUSE_SECONDS", 0)
    monkeypatch.setattr("worker.lease.LOOK_SECONDS", 0.001)
    monkeypatch.setattr("worker.patience._PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("worker.patience.PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(lifecycle, "_opened", [room.resources])
    return Story(room, monkeypatch)


class Story:
    def __init__(self, room, monkeypatch):
        self.room = room
        self.resources = room.resources
        self.faults = DatabaseFaults(self.resources.engine)
        consumer = types.SimpleNamespace(
            pool=types.SimpleNamespace(info={"processes": [os.getpid()]})
        )
        self.beat = lifecycle.Heartbeat(consumer)._beat
        self.escaped = []
        self.asked = threading.Event()
        extend, replay = Lease._extend, simulator.replay

        def extend_and_tell(lease):
            try:
                extend(lease)
            finally:
                self.asked.set()

        def replay_until_the_lease_was_extended(*given, **options):
            self.asked.clear()
            found = replay(*given, **options)
            assert self.asked.wait(PATIENCE_SECONDS), "the thread of the lease is dead"
            return found

        monkeypatch.setattr(Lease, "_extend", extend_and_tell)
        run = shards.run
        monkeypatch.setattr(
            shards, "run", lambda held: run(held, replay=replay_until_the_lease_was_extended)
        )

    def expected(self):
        """What an undisturbed replay gives, by variant, and the statements of such a story.

        Of the second one: nothing is stored before the first.
        """
        for _ in range(2):
            self.tell(lambda *_: None)
        digests = {row.variant_digest: row.body_digest for row in self.room.results()}
        assert len(digests) == 5
        return digests, self.faults.statements

    def tell(self, kind_of):
        """The story once, with a fault; then until its end without."""
        # Heard of just now, however slow the machine is: with one worker there is one shard.
        self.room.add_worker(self.resources.name)
        batch, messages = self.room.plan_two_shards(patches=SEED_SERIES, recompute=True)
        left = self.room.fences(messages)[0]
        self.room.claim(left, worker="dead")
        self.room.let_lease_run_out(left)
        with transaction(self.room.engine) as session:
            session.execute(sa.update(Result).values(facts=None))  # as an earlier release left them
        with self.faults.injected(kind_of):
            self._sweep()
            self.beat()
            shards.take_turn(self.resources)
            self._sweep()
        for _ in range(ROUNDS_MAX):
            if self.room.batch(batch.id).is_over:
                break
            self._let_every_lease_run_out()
            self._sweep()
            shards.take_turn(self.resources)
        return batch

    def _sweep(self):
        # As upkeep does it; what is no error of ours ends the test.
        with contextlib.suppress(RefaultError):
            sweep(self.resources, waiting_message_count=0)

    def _let_every_lease_run_out(self):
        with transaction(self.room.engine) as session:
            session.execute(
                sa.update(Shard)
                .where(Shard.state == "running")
                .values(lease_until=sa.func.now() - sa.text("interval '1 second'"))
            )

    def wrong(self, batch, expected):
        """What does not add up."""
        row = self.room.batch(batch.id)
        if (row.state, row.done_count, row.failed_count) != ("done", row.run_count, 0):
            yield f"batch: {row.state} {row.done_count}/{row.run_count}, {row.failed_count} failed"
        with transaction(self.room.engine) as session:
            results = session.scalars(sa.select(Result)).all()
            runs = session.scalars(sa.select(Run).where(Run.batch_id == batch.id)).unique().all()
            parts = session.scalars(sa.select(Shard).where(Shard.batch_id == batch.id)).unique()
            texts = [entry.error or "" for entry in (*runs, *parts)]
            steps = session.scalars(sa.select(BatchEvent).where(BatchEvent.batch_id == batch.id))
            bodies = [(step.kind, step.body) for step in steps]
            held = sweeping.abandoned(session)
        found = {result.variant_digest: result.body_digest for result in results}
        if found != expected or len(results) != len(expected):
            yield "results: not those of an undisturbed replay"
        if any(result.integrity_alarm for result in results):
            yield "results: an integrity alarm"
        ended = [body["run_id"] for kind, body in bodies if kind == "run.done"]
        if sorted(ended) != sorted(str(run.id) for run in runs):
            yield f"runs: {len(ended)} ends for {len(runs)} runs"
        if held:
            yield "shards: one is still held"
        for text in (*texts, json.dumps([body for _, body in bodies])):
            if SECRET in text or "SELECT" in text:
                yield f"a row tells SQL: {text[:200]}"
        if any(thread.name == "lease" for thread in threading.enumerate()):
            yield "a lease's thread outlives its shards"


def injected(is_place, kind, mode):
    """The fault meets the first statement that is the place, or that one and all after it."""
    met = []

    def kind_of(number, statement):
        if met:
            return kind if mode == "from then on" else None
        if is_place(number, statement):
            met.append(number)
            return kind
        return None

    return kind_of


def faults(seed):
    """Every error in both modes, in an order of the seed."""
    every = [(kind, mode) for kind in KINDS for mode in MODES]
    return random.Random(seed).sample(every, len(every))


def pairs(statement_count, seed):
    """Every place with every fault; both take turns."""
    numbers = random.Random(seed).sample(range(statement_count), statement_count)
    turns = faults(seed)
    for turn in range(len(turns)):
        for place, number in enumerate(numbers):
            yield number, *turns[(turn + place) % len(turns)]


@pytest.mark.timeout(1500 + MINUTES * 90)
def test_no_error_of_the_database_at_any_statement_loses_or_makes_a_result(story):
    expected, statements = story.expected()
    wrong = []

    def tell(place, is_place, kind, mode):
        batch = story.tell(injected(is_place, kind, mode))
        wrong.extend(
            f"{place}, {kind}, {mode} (seed {SEED}): {what}: {story.faults.met[:1]}"
            for what in story.wrong(batch, expected)
        )

    texts = list(dict.fromkeys(statements))
    assert len(texts) > 40
    turns = itertools.cycle(faults(SEED))
    for text in texts:
        for _ in range(TRIES_MAX):
            tell(text[:60], lambda _, told, text=text: told == text, *next(turns))
            if story.faults.met:
                break
        else:
            raise AssertionError(f"never told again: {text}")
    until = time.monotonic() + MINUTES * 60
    for number, kind, mode in pairs(len(statements), SEED):
        if time.monotonic() > until:
            break
        tell(f"statement {number}", lambda seen, _, number=number: seen == number, kind, mode)
    assert wrong == []


@pytest.mark.parametrize("words", ["UPDATE shards SET lease_until", "UPDATE workers"])
@pytest.mark.parametrize("kind", ["lock timeout", "unknown column", "interface"])
def test_a_beat_that_always_fails_ends_no_thread_and_the_work_is_recorded(story, words, kind):
    batch = story.tell(lambda _seen, text: kind if words in text else None)
    assert story.faults.met
    assert story.room.batch(batch.id).state == "done"
    assert all(shard.lost_count <= 1 for shard in shards_of(story.room, batch))


def shards_of(room, batch):
    with transaction(room.engine) as session:
        return session.scalars(sa.select(Shard).where(Shard.batch_id == batch.id)).unique().all()
