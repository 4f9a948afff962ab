"""What a batch costs beside its simulation: planning, handing out, waiting, and a second worker.

``batches.py [plan|dispatch|long …]``: everything, or the parts named. By the clock on the wall,
because that is what people wait for; so the machine must have two idle cores.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from kit import generator
from kit.runs import MILLION
from report import record

from db import schema
from db.models.projects import FIRST_PROJECT
from db.repositories import patch_sets, patches, simulators, traces
from db.session import create_engine, transaction
from db.shards import planning
from refault.catalogue import Parameters, PatchSet, resolve
from refault.client import Client
from refault.replay import session
from refault.replay.compile.cache import cache_folder
from refault.trace import Block, EventKind, TraceHeader, TraceWriter
from services.local import postgres
from services.local.folder import DataFolder
from services.local.stack import Stack

PLANNED_SHARDS, SHARDS_PER_BATCH, PLAN_SECONDS = 100_000, 10_000, 60.0
EMPTY_RUNS, SHARDS_PER_SECOND = 1000, 300.0
LONG_TRACES, LONG_EVENTS, SMALL_SECONDS = 8, 32 * MILLION, 1.0
# Many pages mapped and few allowed: the kernel recycles all the time. Eight machines make a shard.
LONG_LIMITS = (64, 80, 96, 112, 128, 144, 160, 176)
DIGEST = "{:064x}"


def _load() -> str:
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def plan(folder: Path) -> None:
    """Plan 100,000 shards, as ten batches of as many runs as a batch may have."""
    place = DataFolder(folder / "planning")
    place.open()
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(place.path("tmp"))}
    server = postgres.start(place, environment)
    database = create_engine(server.url())
    try:
        schema.upgrade(database)
        rows = _many_traces(database)
        seconds = 0.0
        for number in range(PLANNED_SHARDS // SHARDS_PER_BATCH):
            with transaction(database, FIRST_PROJECT) as session:
                wanted = PatchSet(parameters=Parameters(page_limit=100 + number))
                chosen = patch_sets.add(session, f"limit {100 + number}", wanted)[0]
                begun = time.perf_counter()
                planned = planning.write(
                    session,
                    planning.expand(
                        traces=rows,
                        patch_sets=[chosen],
                        plan="each",
                        simulators={"shadow": DIGEST.format(1)},
                    ),
                )
            # The commit is part of it.
            seconds += time.perf_counter() - begun
            if len(planned.messages) != SHARDS_PER_BATCH:
                raise AssertionError(f"{len(planned.messages)} shards")
    finally:
        database.dispose()
        server.process.stop()
        place.close()
    record(
        "planning_100k_shards",
        ratio=seconds / PLAN_SECONDS,
        what=f"planning 100,000 shards / the goal, seconds; at most 1; {_load()}",
        ours=seconds,
        theirs=PLAN_SECONDS,
    )


def _many_traces(database: sa.Engine) -> list[traces.Trace]:
    with transaction(database, FIRST_PROJECT) as session:
        patches.copy_catalogue(session)
        simulators.register(
            session,
            name="w",
            simulators={"shadow": DIGEST.format(1)},
            semantics_version=1,
            host="h",
            pid=1,
        )
        return [
            traces.add(
                session,
                digest=DIGEST.format(number),
                name=f"trace {number}",
                content="capture",
                guest_mode="long",
                vcpu_count=1,
                size_bytes=1,
                event_count=1,
                instruction_count=1,
                truncated=False,
                events_by_kind={},
                header={},
            )[0]
            for number in range(SHARDS_PER_BATCH)
        ]


def dispatch(folder: Path) -> None:
    """Hand out runs that simulate nothing, on a whole stack with two workers."""
    with _started(folder / "dispatch", 2) as stack, Client(stack.url, token=stack.token) as client:
        digests = [
            client.upload_trace(_nothing(folder, number)).trace["digest"]
            for number in range(EMPTY_RUNS)
        ]
        small = statistics.median(
            sum(_seconds_of(client, digests[:1], Parameters(page_limit=50 + n))) for n in range(5)
        )
        planning, seconds = _seconds_of(client, digests, Parameters(page_limit=70))
    record(
        "small_batch_overhead",
        ratio=small / SMALL_SECONDS,
        what=f"one empty run from submit to end / the goal, seconds; at most 1; {_load()}",
        ours=small,
        theirs=SMALL_SECONDS,
    )
    record(
        "dispatch_empty_runs",
        ratio=EMPTY_RUNS / seconds / SHARDS_PER_SECOND,
        what=f"{EMPTY_RUNS} empty shards: those a second from the answer to their submission to the"
        f" end of the batch, two workers / the goal; at least 1; {_load()}",
        ours={
            "shards a second": EMPTY_RUNS / seconds,
            "with planning and sending": EMPTY_RUNS / (planning + seconds),
        },
        theirs=SHARDS_PER_SECOND,
    )


def _nothing(folder: Path, number: int) -> Path:
    path = folder / f"nothing-{number}.rft"
    with TraceWriter(path, TraceHeader("operations", f"nothing {number}", "long", 1)) as writer:
        writer.append_block(_one_vcpu())
    return path


def _one_vcpu() -> Block:
    capture = generator.Capture("nothing")
    capture.add(EventKind.OP_VM, 1)
    return capture.blocks()[0]


def long_runs(folder: Path) -> None:
    """A batch of shards of seconds, with one worker and with two."""
    parameters = [Parameters(page_limit=limit) for limit in LONG_LIMITS]
    paths = list(_long_traces(folder))
    session.warm_up()
    variants = [resolve(PatchSet(parameters=each)) for each in parameters]
    begun = time.perf_counter()
    for path in paths:
        session.replay(path, variants)
    simulated = time.perf_counter() - begun
    wall = {}
    for workers in (1, 2):
        with (
            _started(folder / f"long-{workers}", workers) as stack,
            Client(stack.url, token=stack.token) as client,
        ):
            digests = [client.upload_trace(path).trace["digest"] for path in paths]
            wall[workers] = sum(_seconds_of(client, digests, *parameters))
    batch = f"{LONG_TRACES} traces under {len(LONG_LIMITS)} machines"
    record(
        "long_batch_wall",
        ratio=wall[2] / (simulated / 2),
        what=f"{batch}, two workers / (simulation time / 2); at most 1.15; {_load()}",
        ours={"wall, one worker": wall[1], "wall, two workers": wall[2]},
        theirs={
            "simulation in one process": simulated,
            "seconds a run": simulated / LONG_TRACES / len(LONG_LIMITS),
        },
    )
    record(
        "two_workers",
        ratio=wall[1] / wall[2],
        what=f"{batch}, one worker / two; at least 1.9; {_load()}",
        ours=wall[2],
        theirs=wall[1],
    )


def _long_traces(folder: Path) -> Iterator[Path]:
    for seed in range(LONG_TRACES):
        capture = generator.mixed(LONG_EVENTS, seed)
        path = folder / f"long-{seed}.rft"
        with TraceWriter(path, capture.header, level=1) as writer:
            for block in capture.blocks():
                for start in range(0, block.event_count, MILLION):
                    writer.append_block(block.part(start, min(start + MILLION, block.event_count)))
        yield path


def _started(folder: Path, workers: int) -> Stack:
    stack = Stack(folder, worker_count=workers, settings={"REFAULT_CACHE": str(cache_folder())})
    for _ in stack.start():
        pass
    deadline = time.monotonic() + 60
    while _alive(stack) < workers:
        if time.monotonic() > deadline:
            raise AssertionError("a worker did not start")
        time.sleep(0.1)
    return stack


def _alive(stack: Stack) -> int:
    if stack.engine is None:
        return 0
    with transaction(stack.engine) as session:
        return len(simulators.alive_workers(session))


def _seconds_of(client: Client, digests: list[str], *machines: Parameters) -> tuple[float, float]:
    """Until a batch is submitted, and from then until its watcher knows of its end."""
    made = [
        client.create_patch_set(
            f"limit {parameters.page_limit}",
            base="v2.6.34-pre",
            patches=[],
            parameters=parameters.to_dict(),
        )["id"]
        for parameters in machines
    ]
    begun = time.perf_counter()
    code = client.submit_batch(digests, made)["code"]
    submitted = time.perf_counter()
    for _ in client.watch_batch(code):
        pass
    ended = time.perf_counter()
    if client.get_batch(code)["state"] != "done":
        raise AssertionError(f"batch {code} is not done")
    return submitted - begun, ended - submitted


PARTS = {"plan": plan, "dispatch": dispatch, "long": long_runs}


def main() -> None:
    """Run the parts named on the command line, or all."""
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or PARTS:
            PARTS[name](Path(folder))


if __name__ == "__main__":
    main()
