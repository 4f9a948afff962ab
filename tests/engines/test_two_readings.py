"""The same source, compiled, interpreted and with every index checked, gives the same bytes."""

import functools
import os
import subprocess
import sys

import pytest

from refault.catalogue import KNOBS, bases, resolve
from refault.engines.shadow.state import words
from refault.replay import x86
from refault.results import COUNTERS
from tests.engines import traffic
from tests.engines.variant_traffic import PATCH_SETS

GUESTS = {"tests.engines.traffic": 90, "tests.engines.variant_traffic": 60}
pytestmark = pytest.mark.timeout(900)  # each reading is compiled first if its source is new


@functools.cache
def compiled(source):
    """What compiled kernels make of the guests."""
    return _lines(source)


def _lines(source, **environment):
    done = subprocess.run(
        [sys.executable, "-m", source, "0", str(GUESTS[source])],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("source", GUESTS)
def test_interpreted_kernels_come_to_the_same(source):
    assert _lines(source, REFAULT_INTERPRETED="1") == compiled(source)


@pytest.mark.parametrize("source", GUESTS)
def test_no_kernel_leaves_its_arrays_and_checked_kernels_come_to_the_same(source):
    assert _lines(source, REFAULT_BOUNDSCHECK="1") == compiled(source)


def test_the_traffic_is_worth_comparing():
    """Most guests run, variants differ, every mode is met, and every counter but one moves.

    mmu_recycled needs a page limit, mmu_unsync a table that maps itself: random guests have both.
    """
    source = "tests.engines.traffic"
    rows = [line.split()[1:] for line in compiled(source)]
    assert sum("ReplayRefused" not in row for row in rows) > GUESTS[source] * 2 // 3
    assert sum(len(set(row)) > 1 for row in rows) > GUESTS[source] // 5
    seen, levels = set(), set()
    for seed in range(0, 120, 3):
        host, _ = traffic.host_after(traffic.random_guest(seed), traffic.VARIANTS[-1])
        seen |= {name for name, value in host.counters().items() if value}
        vm = host.machine.vm
        places = [words.CPUS + vcpu * words.CPU_WORDS for vcpu in range(int(vm[words.VCPU_COUNT]))]
        levels |= {int(vm[place + words.ROOT_LEVEL]) for place in places}
    assert levels == {x86.NONPAGING, x86.LEGACY_LEVELS, x86.PAE_LEVELS, x86.LONG_LEVELS}
    assert set(COUNTERS) - seen == set()


def test_the_variants_differ_and_set_every_knob_that_no_base_sets():
    source = "tests.engines.variant_traffic"
    words = [line.split()[1:] for line in compiled(source)]
    assert sum(len(set(row)) == len(PATCH_SETS) for row in words) > GUESTS[source] // 3
    of_bases = {knob.name: {base.knobs[knob.name] for base in bases()} for knob in KNOBS}
    new = {knob.name for knob in KNOBS[-17:]}
    assert new == {name for name in new if of_bases[name] == {0}}
    variants = [resolve(patch_set) for patch_set in PATCH_SETS]
    assert new == {name for name in new if any(variant.knobs[name] for variant in variants)}
