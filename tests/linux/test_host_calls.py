"""Ranges, dirty logs and registers set from outside: the model beside the code of today's kernels.

What guest and host see is the same: the address, fault or value of every access, whether a range
held a mapping, how many pages of a log are dirty and which. Counters are of kernels fourteen years
apart; those that are shared move alike, or as stated here.
"""

import pytest

from refault.catalogue import KERNEL, PatchSet, resolve
from refault.linux.variants import resolve_kernel
from refault.replay.session import replay
from tests.engines.guests import A, P, U, W
from tests.engines.host_calls import (
    CASES,
    DATA,
    get_log,
    log,
    log_off,
    sregs,
    untouched,
)
from tests.engines.host_calls import unmap_range as range_of

MODELS = [resolve(PatchSet()), resolve(PatchSet(base="v2.6.35.6"))]


def result_of(guest, variant):
    (result,) = replay(guest.trace(), [variant])
    assert result.stopped is None
    return result


@pytest.fixture
def kernel(build, release):
    (made,) = build(release)
    return resolve_kernel(PatchSet(f"{KERNEL}{made.digest}"))


@pytest.mark.parametrize("name", CASES)
def test_guest_and_host_see_the_same(kernel, name):
    results = [result_of(CASES[name](), variant) for variant in (*MODELS, kernel)]
    assert len({result.outcome_digest for result in results}) == 1
    assert len({tuple(sorted(result.answers.items())) for result in results}) == 1
    assert len({tuple(sorted(result.skipped.items())) for result in results}) == 1


def moved(variant, before, after, *counters):
    first, second = (result_of(guest, variant).counters for guest in (before, after))
    return tuple(second[name] - first[name] for name in counters)


def test_a_range_is_one_flush_everywhere(kernel):
    """Two vCPUs whose flush was asked for: the host interrupts none of them a second time."""

    def entered():
        return untouched().load(0).load(0, vcpu=1)

    for variant in (*MODELS, kernel):
        for pages in (1, 4):
            taken = range_of(entered(), DATA, pages)
            assert moved(variant, entered(), taken, "remote_tlb_flush") == (1,)
        assert moved(variant, entered(), range_of(entered(), 500, 9), "remote_tlb_flush") == (0,)


def test_a_log_read_flushes_only_if_something_is_dirty(kernel):
    def logged():
        made = untouched().table(4, {5: DATA + 5 << 12 | P | W | U | A})
        return log(made).load(0x5000).load(0x5000, vcpu=1)

    for variant in (*MODELS, kernel):
        counted = moved(variant, logged(), get_log(logged()), "remote_tlb_flush")
        assert counted == (0,)
        written = logged().store(0x1000)
        counted = moved(variant, written, get_log(logged().store(0x1000)), "remote_tlb_flush")
        assert counted == (1,)


def test_only_kernels_of_2010_protect_a_slot_whose_log_ends(kernel):
    """Later ones see that nothing but the flag changed."""

    def written():
        return log(untouched()).store(0)

    for variant, again in ((MODELS[0], 1), (MODELS[1], 1), (kernel, 0)):
        found = moved(variant, log_off(written()), log_off(written()).store(0), "exits")
        assert found == (again,)


def test_registers_reset_the_mmu_only_if_one_changes(kernel):
    """CR0.WP is part of a page's role from 2.6.35 on, EFER.NX where the guest wrote it."""
    changes = {
        "nothing": ({}, (0, 0, 0)),
        "CR0.WP": ({"cr0": 0x80000033}, (0, 4, 4)),
        "EFER.NX": ({"efer": 0xD00}, (0, 0, 0)),
    }
    for registers, misses in changes.values():
        for variant, expected in zip((*MODELS, kernel), misses, strict=True):
            after = sregs(untouched(), **registers).load(0)
            found = moved(variant, untouched(), after, "mmu_cache_miss", "exits")
            assert found == (expected, int(expected > 0))
