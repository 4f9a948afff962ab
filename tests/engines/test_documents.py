"""What watches a run is a document of its own: no watch changes a byte of a result."""

import dataclasses
import itertools

import pytest

from refault.catalogue import PatchSet, resolve
from refault.documents import DocumentKey, event_log_key
from refault.engines import get_engine
from refault.engines.base import Watch
from refault.replay import session
from refault.replay.budget import Budget
from refault.replay.lowering.rows import operations_of
from refault.replay.session import replay
from tests.engines.traffic import random_guest

BASE, SERIES, WALK = (
    resolve(PatchSet()),
    resolve(PatchSet("v2.6.35.6")),
    resolve(PatchSet("walk")),
)
SWITCHES = {"record_all": True, "rows": True, "sample_every": 7, "events": lambda _: None}


def watches(variant):
    """Every combination of what an engine lets itself be watched by; walk has no tracepoints."""
    names = [name for name in SWITCHES if name != "events" or variant.engine == "shadow"]
    for count in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, count):
            yield Watch(**{name: SWITCHES[name] for name in chosen})


def watched(guest, variant, watch):
    """The result of a run under that watch."""
    with guest.trace() as trace:
        host = get_engine(variant.engine).open(variant, trace.header, Budget(), watch)
        skipped = {}
        for ops, count, _ in operations_of(trace.header, trace.blocks(), skipped):
            host.execute(ops, count)
        return session._result(host, trace, skipped)


@pytest.mark.parametrize("variant", [BASE, SERIES, WALK], ids=lambda variant: variant.name)
@pytest.mark.parametrize("seed", range(2))
def test_a_result_has_the_same_bytes_under_any_watch(variant, seed):
    guest = random_guest(seed)
    plain = replay(guest.trace(), [variant])[0]
    found = [watched(guest, variant, watch) for watch in watches(variant)]
    assert len(found) == (15 if variant.engine == "shadow" else 7)
    assert {result.to_bytes() for result in found} == {plain.to_bytes()}
    assert {result.digest for result in found} == {plain.digest}


def test_a_second_watching_run_of_a_key_gives_the_same_bytes():
    def document(seed, variant):
        written = []
        [result] = replay(random_guest(seed).trace(), [variant], events=written.append)
        return event_log_key(result), "".join(written)

    key, text = document(0, BASE)
    assert document(0, BASE) == (key, text)
    others = [document(1, BASE), document(0, SERIES)]
    assert len({key, *(other for other, _ in others)}) == len({text, *(t for _, t in others)}) == 3


def test_a_key_is_the_run_and_how_it_was_watched():
    [result] = replay(random_guest(0).trace(), [BASE])
    key = event_log_key(result)
    assert key == DocumentKey(
        "event-log", "kvmmmu", result.trace_digest, BASE.digest, get_engine("shadow").digest
    )
    changed = [
        dataclasses.replace(key, **{field.name: "other"}) for field in dataclasses.fields(key)
    ]
    assert len({key.digest, *(other.digest for other in changed)}) == 6
    assert key.to_line() == (
        f"# refault: kind=event-log level=kvmmmu trace_digest={result.trace_digest} "
        f"variant_digest={BASE.digest} simulator_digest={result.simulator_digest}\n"
    )
