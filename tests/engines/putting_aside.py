"""Random and hostile guests, put aside at random places and taken up again.

``python -m tests.engines.putting_aside FIRST COUNT`` prints a line of digests a guest, of replays
that were put aside again and again; ``whole`` behind the numbers prints those of undisturbed ones.
"""

import hashlib
import itertools
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

from refault.catalogue import Parameters, PatchSet, Schedule, resolve
from refault.engines.shadow.state.pageset import page_digest
from refault.errors import ReplayRefused
from refault.replay import snapshot
from refault.replay.lowering.rows import RowSource
from refault.replay.session import warm_up
from tests.engines.hosts import Host
from tests.engines.traffic import VARIANTS, guest_of

SERIES = ("zap-account", "parent-stop-bit")
CHOSEN = [
    VARIANTS[0],
    VARIANTS[-2],
    VARIANTS[-1],
    resolve(PatchSet(patches=SERIES, parameters=Parameters(page_limit=Schedule(90, 40, 17)))),
    resolve(PatchSet(parameters=Parameters(page_limit=33, tlb=1, bypass=1))),
]


class Seen:
    """As much of a reader as a snapshot asks."""

    framed_digest = hashlib.sha256(b"the trace so far").hexdigest()


def begun(header):
    source, hosts = RowSource(header), [Host(variant, header) for variant in CHOSEN]
    if header.content == "capture":
        for host in hosts:
            host.begin()
    return source, hosts


def again(source, hosts, header, folder):
    """The same replay, by way of a file."""
    path = Path(folder) / "snapshot"
    with path.open("wb") as file:
        snapshot.Snapshot(source, hosts, Seen()).write(file)
    resumed = snapshot.read(path, header, CHOSEN)
    assert resumed.trace_so_far == Seen.framed_digest
    return resumed.source, resumed.hosts


def replayed(guest, *, cuts=(), folder=None):
    """One word a host, and how many rows it executed; a refusal ends all of them."""
    header, block = guest.header(), guest.block()
    source, hosts = begun(header)
    places = sorted({0, *cuts, block.event_count})
    refusal = ""
    try:
        for start, end in itertools.pairwise(places):
            # The last stretch alone makes an end, which releases what is held.
            for ops, count, _ in stretch(source, block.part(start, end), end == block.event_count):
                for host in hosts:
                    host.execute(ops, count)
            if folder is not None and end < block.event_count:
                source, hosts = again(source, hosts, header, folder)
    except ReplayRefused as error:
        refusal = str(error)
    return [word_of(host, source, refusal) for host in hosts]


def stretch(source, block, is_last):
    if is_last:
        yield from source.parts(iter([block]))
        return
    for part in source.parts(iter([block])):
        yield part
        if part[2] == block.first_event_index + block.event_count:
            return


def word_of(host, source, refusal):
    state = [
        refusal,
        host.counters(),
        host.notes.semantics(),
        host.notes.skipped(),
        host.work(),
        source.skipped(),
        source.events,
        host.operation_count,
        host.stopped,
        host.notes.findings.stopped,
        host.notes.findings.kept,
        host.notes.findings.count,
        host.notes.outcomes.hexdigest(),
        page_digest(host.machine),
    ]
    digest = hashlib.sha256(repr(state).encode())
    for words in (*host.machine, *source.lowering):
        digest.update(np.asarray(words, np.int64).tobytes())
    return digest.hexdigest()


def cuts_of(seed, event_count):
    rng = random.Random(seed)
    return [rng.randrange(event_count) for _ in range(rng.randrange(1, 5))]


def main(first, count, how="aside"):
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            guest = guest_of(seed)
            cuts = cuts_of(seed, len(guest.rows))
            # The same cuts, whole: a refusal then meets the same hosts at the same rows.
            words = replayed(guest, cuts=cuts, folder=None if how == "whole" else folder)
            sys.stdout.write(" ".join([str(seed), *words]) + "\n")


if __name__ == "__main__":
    warm_up()
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
