"""A replay takes no more memory than it may, and asks before it takes any."""

import tracemalloc

import pytest

from refault.catalogue import SEED_SERIES, Parameters, PatchSet, resolve
from refault.errors import ReplayTooLarge
from refault.replay.budget import Budget
from refault.replay.session import replay
from refault.trace import TraceValidator
from tests.engines import exhausting

MIB = 1 << 20
PLAIN = resolve(PatchSet())
HOSTILE = {  # what runs out, of how many MiB
    "what the guest writes": (24, exhausting.written(100_000)),
    "shadow pages": (100, exhausting.shadowed(8_000, memory=16 * exhausting.GIB_FRAMES)),
    "reverse maps": (24, exhausting.mapped_twice(1 << 17)),
    "memory slot 0": (24, exhausting.slots(16 * exhausting.GIB_FRAMES)),
    "memory slot": (24, exhausting.deleted_slots(8)),
    "(what the guest writes|the guest's page tables)": (24, exhausting.tables(6_000)),
    "the guest's memory slots": (24, exhausting.stores_of_many_vcpus(exhausting.GIB_FRAMES)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_small_trace_cannot_make_a_replay_take_more_than_it_may(what):
    limit, rows = HOSTILE[what]
    trace = rows.trace()
    replay(exhausting.written(1).trace(), [PLAIN])  # what is loaded once is nobody's
    tracemalloc.start()
    try:
        with pytest.raises(ReplayTooLarge, match=rf"the {limit} MiB of memory .*: {what}"):
            replay(trace, [PLAIN], memory_bytes=limit * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Beside the arrays: a decoded block, rows of operations, and the records of one part.
    assert peak < (limit + 32) * MIB


def test_the_budget_is_that_of_all_variants_together():
    variants = [PLAIN, resolve(PatchSet(patches=SEED_SERIES[:1]))]
    with pytest.raises(ReplayTooLarge):
        replay(exhausting.written(3_000).trace(), variants, memory_bytes=40 * MIB)
    for variant in variants:
        [alone] = replay(exhausting.written(3_000).trace(), [variant], memory_bytes=40 * MIB)
        assert alone.variant_digest == variant.digest


def test_a_result_does_not_depend_on_how_much_memory_there_may_be():
    variants = [PLAIN, resolve(PatchSet(parameters=Parameters(tlb=1)))]
    trace = exhausting.shadowed(1_000)
    bounded = replay(trace.trace(), variants, memory_bytes=200 * MIB)
    assert bounded == replay(trace.trace(), variants)


def test_what_was_put_aside_is_not_read_into_more_memory_than_there_may_be(tmp_path):
    path = tmp_path / "trace.rft"
    path.write_bytes(exhausting.written(3_000).bytes())
    aside = tmp_path / "aside"

    def keep(snapshot):
        with aside.open("wb") as file:
            snapshot.write(file)

    whole = replay(path, [PLAIN], on_snapshot=keep)
    assert replay(path, [PLAIN], resume_from=aside) == whole
    with pytest.raises(ReplayTooLarge, match="its snapshot"):
        replay(path, [PLAIN], resume_from=aside, memory_bytes=8 * MIB)


def test_memory_that_was_given_back_can_be_taken_again():
    share = Budget(1_000).share()
    for _ in range(10):
        share.ask(100, "a longer array")
        with pytest.raises(ReplayTooLarge):
            share.ask(100, "and another")
        share.settle([[0] * 20])


@pytest.mark.parametrize(
    "rows", [exhausting.written(60_000), exhausting.tables(4_000)], ids=["written", "tables"]
)
def test_what_an_upload_is_told_to_hold_is_no_more_than_what_a_replay_needs(rows):
    validator = TraceValidator()
    validator.feed(rows.bytes())
    validator.close()
    with pytest.raises(ReplayTooLarge):
        replay(rows.trace(), [PLAIN], memory_bytes=validator.costs.memory_bytes)
