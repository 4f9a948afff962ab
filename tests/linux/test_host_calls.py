"""Ranges, dirty logs and registers set from outside: the model beside the code of today's kernels.

What guest and host see is the same: the address, fault or value of every access, whether a range
held a mapping, how many pages of a log are dirty and which. Counters are of kernels fourteen years
apart; those that are shared move alike, or as stated here.
"""

import pytest

from refault.catalogue import KERNEL, Parameters, PatchSet, resolve
from refault.linux.variants import resolve_kernel
from refault.replay.session import replay
from refault.results import LOGS
from refault.synth import Order, make
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
    assert len({result.lawful_digest for result in results}) == 1
    assert len({tuple(result.logs.get(name) for name in LOGS) for result in results}) == 1


@pytest.mark.parametrize("tdp", [0, 1])
def test_a_migration_loses_nothing_and_logs_are_held_against_the_same(
    build, release, tdp, migration
):
    """Kernels of today map neighbours of a fault, and so log more; what was written is the same."""
    (made,) = build(release)
    parameters = Parameters(tdp=tdp)
    later = resolve_kernel(PatchSet(f"{KERNEL}{made.digest}", parameters=parameters))
    model, found = replay(migration, [MODELS[0], later])
    assert found.outcome_digest != model.outcome_digest
    assert found.lawful_digest == model.lawful_digest
    assert found.logs["dirty_written"] == model.logs["dirty_written"] > 0
    assert found.logs["dirty_lost"] == found.finding_count == 0


def test_a_log_that_forgets_pages_is_told(build, patch_of, migration):
    def forgetful(text):
        start = text.index("\nvoid mark_page_dirty_in_slot(")
        known = "kvm_slot_dirty_track_enabled(memslot)"
        return text[:start] + text[start:].replace(known, f"{known} && gfn & 7", 1)

    patches = patch_of("6.12", ("Forget every eighth", forgetful), file="virt/kvm/kvm_main.c")
    made = build("6.12", patches)[-1]
    (found,) = replay(migration, [resolve_kernel(PatchSet(f"{KERNEL}{made.digest}"))])
    assert 0 < found.logs["dirty_lost"] < found.logs["dirty_written"]
    assert {finding.kind for finding in found.findings} == {"lost-dirty-page"}
    assert "written since it was last read are not in it" in found.findings[0].message


@pytest.fixture(scope="module")
def migration(tmp_path_factory):
    place = tmp_path_factory.mktemp("migration") / "guest.rft"
    make(Order("migration", events=200_000), place)
    return place


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
