"""Random faults on a running service for as long as you like, and then: does everything add up?

``python -m tests.soak MINUTES SEED [--json FILE]``: at least every kind of fault once. The seed
draws which faults come, with what between them, and what is asked for meanwhile; a failure prints
both. What a fault hits is up to the processes, so a failure comes again with its seed as far as
those allow.
"""

import argparse
import collections
import contextlib
import dataclasses
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import redis
import sqlalchemy as sa

from db.errors import Conflict
from db.models import Batch, BatchEvent, Result, Run, Shard
from db.session import transaction
from db.shards.messages import ShardMessage
from refault.catalogue import Parameters, PatchSet, resolve
from refault.client import Client
from refault.errors import RefaultError, Refused
from refault.replay import session as simulator
from refault.replay.compile.cache import cache_folder
from services.local import stack as local
from services.local.stack import Stack

TRACES = sorted(Path(__file__).parents[1].glob("demo/traces/*.rft"))
LEASE_SECONDS = 8
SETTINGS = {
    "REFAULT_LEASE_SECONDS": str(LEASE_SECONDS),
    "REFAULT_HEARTBEAT_SECONDS": "0.2",
    "REFAULT_SWEEP_SECONDS": "0.5",
    "REFAULT_RESEND_SECONDS": "2",
    "REFAULT_SNAPSHOT_SECONDS": "0.1",
}
PATCHES = ((), ("zap-account",), ("zap-account", "parent-stop-bit"))
OPEN_BATCHES = 3
SETTLE_SECONDS = 600
REVIVE_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, as the seed drew it."""

    after_seconds: float
    kind: str
    number: int  # which worker, which batch: modulo how many there are
    lasts_seconds: float


class Faults:
    """What can go wrong, each a method; the names are the kinds."""

    def __init__(self, stack, client, batches):
        self.stack = stack
        self.client = client
        self.batches = batches

    @classmethod
    def kinds(cls):
        return sorted(name for name in vars(cls) if name != "kinds" and name[0] != "_")

    def _worker(self, fault):
        return self.stack.workers[fault.number % len(self.stack.workers)]

    def process_dies(self, fault):
        for child in children_of(self._worker(fault).pid):
            kill(child, signal.SIGKILL)

    def worker_dies(self, fault):
        kill(self._worker(fault).pid, signal.SIGKILL)

    def worker_stands_still(self, fault):
        held = [self._worker(fault).pid, *children_of(self._worker(fault).pid)]
        for pid in held:
            kill(pid, signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + fault.lasts_seconds)
        for pid in held:
            kill(pid, signal.SIGCONT)

    def api_dies(self, fault):
        os.killpg(self.stack.part("api").pid, signal.SIGKILL)
        self._revive("api", fault)

    def upkeep_dies(self, fault):
        kill(self.stack.part("upkeep").pid, signal.SIGKILL)
        time.sleep(fault.lasts_seconds)

    def broker_is_emptied(self, fault):
        del fault
        with redis.Redis.from_url(self.stack.broker.url) as broker:
            broker.flushall()

    def broker_dies(self, fault):
        kill(self.stack.part("valkey").pid, signal.SIGKILL)
        self._revive("valkey", fault)

    def database_crashes(self, fault):
        kill(self.stack.part("postgres").pid, signal.SIGQUIT)
        self._revive("postgres", fault)

    def messages_come_again(self, fault):
        """Of every shard that is not over, in any order, of past attempts and of one to come."""
        with transaction(self.stack.engine) as session:
            query = sa.select(Shard.id, Shard.attempt).where(Shard.state.in_(("queued", "running")))
            rows = session.execute(query).all()
        messages = [
            ShardMessage(row.id, attempt)
            for row in rows
            for attempt in (row.attempt, row.attempt + 1, max(1, row.attempt - 1), row.attempt)
        ]
        random.Random(fault.number).shuffle(messages)
        send(self.stack, messages)

    def batch_is_cancelled(self, fault):
        """One of the latest, which may be over by now."""
        latest = self.batches[-OPEN_BATCHES:]
        if latest:
            with contextlib.suppress(Conflict, Refused):
                self.client.cancel_batch(latest[fault.number % len(latest)])

    def _revive(self, name, fault):
        self.stack.part(name).wait(20)
        time.sleep(fault.lasts_seconds)
        self.stack.revive(name)
        deadline = time.monotonic() + REVIVE_SECONDS
        while not self._is_back():
            if time.monotonic() > deadline:
                raise self.stack.part(name).failure("did not come back")
            time.sleep(0.1)

    def _is_back(self):
        with contextlib.suppress(RefaultError):
            self.client.list_batches(limit=1)
            return True
        return False


def children_of(pid):
    with contextlib.suppress(FileNotFoundError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kill(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def send(stack, messages):
    """As a worker sends them; the configuration of Celery comes from the environment."""
    for name, value in stack.environment().items():
        if name.startswith("REFAULT_"):
            os.environ[name] = value
    from services.shared.nudging import publish  # noqa: PLC0415
    from worker.app import app  # noqa: PLC0415

    publish(app, messages)


def drawn(seed):
    """The faults of a seed, without end: every kind comes once before any comes twice."""
    rng = random.Random(seed)
    while True:
        kinds = Faults.kinds()
        rng.shuffle(kinds)
        for kind in kinds:
            yield Fault(rng.uniform(0.5, 5), kind, rng.randrange(1000), rng.uniform(0, 2))


class Work:
    """What is asked of the service meanwhile: batches of a captured guest, no two alike."""

    def __init__(self, client, seed):
        self.client = client
        self.rng = random.Random(seed + 1)
        self.limits = itertools.count(80)
        self.codes = []
        self.variants = {}
        self.digests = {client.upload_trace(trace).trace["digest"]: trace for trace in TRACES}

    def submit(self):
        """One more batch, or an old one computed again; the service may be down."""
        parameters = Parameters(page_limit=next(self.limits), tlb=self.rng.randrange(2))
        again = bool(self.variants) and self.rng.random() < 0.2
        sets = []
        for patches in PATCHES:
            wanted = PatchSet(patches=patches, parameters=parameters)
            self.variants[resolve(wanted).digest] = resolve(wanted)
            created = self.client.create_patch_set(
                resolve(wanted).name,
                base=wanted.base,
                patches=list(patches),
                parameters=parameters.to_dict(),
            )
            sets.append(created["id"])
        digest = self.rng.choice(sorted(self.digests))
        self.codes.append(self.client.submit_batch([digest], sets)["code"])
        if again:
            self.codes.append(self.client.submit_batch([digest], sets, recompute=True)["code"])

    def open_count(self, engine):
        with transaction(engine) as session:
            query = sa.select(sa.func.count()).where(Batch.finished_at.is_(None))
            return session.scalar(query)


def run(minutes, seed):
    """The report: what happened, and what does not add up."""
    happened = []
    local.RESTARTS_MAX = 1 << 30
    settings = {**SETTINGS, "REFAULT_CACHE": str(cache_folder())}
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        Stack(Path(folder) / "data", settings=settings) as stack,
    ):
        for _ in stack.start():
            pass
        with Client(stack.url, token=stack.token) as client:
            work = Work(client, seed)
            _endure(stack, client, work, minutes, seed, happened)
            is_over = _settle(stack, work)
        rows = _rows(stack.engine)
        replaced_count = stack.restart_count
    # Only now, with the processors to itself: every result is computed once more.
    report = _report(rows, work, happened) | {"parts_replaced": replaced_count}
    if not is_over:
        report["violations"].insert(0, f"not over after {SETTLE_SECONDS} s without faults")
    return {"seed": seed, "minutes": minutes, **report}


def _endure(stack, client, work, minutes, seed, happened):
    faults = Faults(stack, client, work.codes)
    ends = time.monotonic() + 60 * minutes
    for count, fault in enumerate(drawn(seed)):
        due = time.monotonic() + fault.after_seconds
        while time.monotonic() < due:
            stack.watch()
            with contextlib.suppress(RefaultError):
                if work.open_count(stack.engine) < OPEN_BATCHES:
                    work.submit()
            time.sleep(0.05)
        # Every kind comes once, however slow the machine is.
        if count >= len(Faults.kinds()) and time.monotonic() > ends:
            return
        happened.append(fault)
        with contextlib.suppress(RefaultError):
            getattr(faults, fault.kind)(fault)


def _settle(stack, work):
    deadline = time.monotonic() + SETTLE_SECONDS
    while work.open_count(stack.engine):
        if time.monotonic() > deadline:
            return False
        stack.watch()
        time.sleep(0.1)
    return True


def _rows(engine):
    """What is stored at the end: batches, runs, shards, the batches' stories, results."""
    with transaction(engine) as session:
        return [
            session.scalars(query).unique().all()
            for query in (
                sa.select(Batch),
                sa.select(Run),
                sa.select(Shard),
                sa.select(BatchEvent).order_by(BatchEvent.id),
                sa.select(Result),
            )
        ]


def _report(rows, work, happened):
    batches, runs, shards, steps, results = rows
    violations = [
        *_of_batches(batches, runs, steps),
        *(f"shard {row.id} is {row.state}" for row in shards if row.state in ("queued", "running")),
        *_of_results(work, results),
    ]
    kinds = collections.Counter(step.kind for step in steps)
    resumed = [s for s in steps if s.kind == "shard.claimed" and s.body.get("snapshot_events")]
    return {
        "faults": [dataclasses.asdict(fault) for fault in happened],
        "faults_by_kind": dict(sorted(collections.Counter(f.kind for f in happened).items())),
        "batches": dict(collections.Counter(batch.state for batch in batches)),
        "runs": dict(collections.Counter(row.state for row in runs)),
        "results": len(results),
        "attempts_lost": kinds["shard.requeued"],
        "resumed_from_snapshot": len(resumed),
        "snapshots_refused": kinds["shard.snapshot_refused"],
        "taken_apart": kinds["shard.taken_apart"],
        "violations": violations,
    }


def _of_batches(batches, runs, steps):
    """Counts, states and stories must say the same."""
    runs_of, steps_of = collections.defaultdict(list), collections.defaultdict(list)
    for row in runs:
        runs_of[row.batch_id].append(row)
    for step in steps:
        steps_of[step.batch_id].append(step)
    for batch in batches:
        states = collections.Counter(row.state for row in runs_of[batch.id])
        told = collections.Counter(
            s.body["run_id"] for s in steps_of[batch.id] if "run_id" in s.body
        )
        ends = [s.kind for s in steps_of[batch.id] if s.kind.removeprefix("batch.") == batch.state]
        checks = {
            "not over": batch.finished_at is not None,
            "runs lost": len(runs_of[batch.id]) == batch.run_count,
            "done": states["done"] + states["cached"] == batch.done_count,
            "cached": states["cached"] == batch.cached_count,
            "failed": states["failed"] == batch.failed_count,
            "cancelled": states["cancelled"] == batch.cancelled_count,
            "a run told of twice": set(told.values()) <= {1},
            "ended other than once": len(ends) == 1,
            "cancelled by nobody": not states["cancelled"] or batch.cancel_requested_at is not None,
            "failed without a reason": all(
                "given up after 3 attempts" in row.error
                for row in runs_of[batch.id]
                if row.state == "failed"
            ),
        }
        yield from (f"batch {batch.code}: {what}" for what, is_so in checks.items() if not is_so)


def _of_results(work, results):
    """Each once, and the bytes of an undisturbed replay."""
    by_trace = collections.defaultdict(list)
    for row in results:
        by_trace[row.trace_digest].append(row)
        if row.integrity_alarm is not None:
            yield f"result {row.id}: integrity alarm {row.integrity_alarm}"
    for digest, rows in by_trace.items():
        variants = [work.variants[row.variant_digest] for row in rows]
        if len({variant.digest for variant in variants}) != len(rows):
            yield f"trace {digest[:12]}: two results for one variant"
        # A few at a time, as workers do; hundreds of hosts would not fit into memory.
        for some in (range(at, min(at + 8, len(rows))) for at in range(0, len(rows), 8)):
            undisturbed = simulator.replay(
                work.digests[digest], [variants[i] for i in some], threads=os.cpu_count() or 1
            )
            for i, result in zip(some, undisturbed, strict=True):
                if result.digest != rows[i].body_digest:
                    yield f"result {rows[i].id}: other bytes than an undisturbed replay"


def table(report):
    """The report in lines."""
    lines = [f"soak: {report['minutes']} minutes, seed {report['seed']}"]
    for name in ("faults_by_kind", "batches", "runs"):
        lines += ["", f"{name.replace('_', ' ')}:"]
        lines += [f"  {key:<24} {count:>6}" for key, count in report[name].items()]
    names = ("results", "parts_replaced", "attempts_lost", "resumed_from_snapshot")
    lines.append("")
    for name in (*names, "snapshots_refused", "taken_apart"):
        lines.append(f"{name.replace('_', ' '):<26} {report[name]:>6}")
    if not report["violations"]:
        return "\n".join([*lines, "", "everything adds up"])
    lines += ["", f"{len(report['violations'])} THINGS DO NOT ADD UP; the faults were, in order:"]
    lines += [f"  {fault}" for fault in report["faults"]]
    lines += [f"  ! {violation}" for violation in report["violations"]]
    return "\n".join(
        [*lines, f"again: make soak MINUTES={report['minutes']} SEED={report['seed']}"]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("minutes", type=float)
    parser.add_argument("seed", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = run(options.minutes, options.seed)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    sys.stdout.write(table(report) + "\n")
    return 1 if report["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
