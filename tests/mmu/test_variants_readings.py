"""Every new branch of the kernels, compiled, interpreted and with every index checked."""

import os
import subprocess
import sys

import pytest

from refault.catalogue import KNOBS, bases, resolve
from tests.mmu.variant_traffic import PATCH_SETS

GUESTS = 60


@pytest.fixture(scope="module")
def compiled():
    return _lines({})


def _lines(environment):
    done = subprocess.run(
        [sys.executable, "-m", "tests.mmu.variant_traffic", "0", str(GUESTS)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_interpreted_kernels_come_to_the_same_under_every_new_knob(compiled):
    assert _lines({"REFAULT_INTERPRETED": "1"}) == compiled


def test_no_kernel_leaves_its_arrays_under_any_new_knob(compiled):
    assert _lines({"REFAULT_BOUNDSCHECK": "1"}) == compiled


def test_the_variants_differ_and_set_every_knob_that_no_base_sets(compiled):
    words = [line.split()[1:] for line in compiled]
    assert sum(len(set(row)) == len(PATCH_SETS) for row in words) > GUESTS // 3
    of_bases = {knob.name: {base.knobs[knob.name] for base in bases()} for knob in KNOBS}
    new = {knob.name for knob in KNOBS[-8:]}
    assert new == {name for name in new if of_bases[name] == {0}}
    variants = [resolve(patch_set) for patch_set in PATCH_SETS]
    assert new == {name for name in new if any(variant.knobs[name] for variant in variants)}
