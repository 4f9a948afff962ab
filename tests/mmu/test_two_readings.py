"""The same source, compiled, interpreted and with every index checked, gives the same bytes."""

import os
import subprocess
import sys

import pytest

from tests.mmu import traffic

GUESTS = 90


@pytest.fixture(scope="module")
def compiled():
    return _lines({})


def _lines(environment):
    done = subprocess.run(
        [sys.executable, "-m", "tests.mmu.traffic", "0", str(GUESTS)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_interpreted_kernels_come_to_the_same(compiled):
    assert _lines({"REFAULT_INTERPRETED": "1"}) == compiled


def test_no_kernel_leaves_its_arrays_and_checked_kernels_come_to_the_same(compiled):
    assert _lines({"REFAULT_BOUNDSCHECK": "1"}) == compiled


def test_the_traffic_is_worth_comparing(compiled):
    """Most guests run, variants differ, and unsync pages, recycling and emulation all happen."""
    words = [line.split()[1:] for line in compiled]
    assert sum("ReplayRefused" not in row for row in words) > GUESTS * 2 // 3
    assert sum(len(set(row)) > 1 for row in words) > GUESTS // 10
    seen = set()
    for seed in range(30):
        guest = traffic.random_guest(seed)
        counters = traffic.counters_of(guest)
        seen |= {name for name, value in counters.items() if value}
    assert {"mmu_pte_write", "mmu_flooded", "synced", "mmu_recycled", "pf_guest"} <= seen
