"""Every patch on every base, on whole captures: who lets the guest see what it should not?"""

from pathlib import Path

import pytest

from refault.catalogue import NAMED, PatchSet, bases, get_patch, patches, resolve
from refault.errors import WrongBase
from refault.replay.session import replay

TRACES = Path(__file__).parents[2] / "demo" / "traces"
STOPS_EARLY = {"parent-stop-bit", "parent-stop-count", "parent-stop-merged"}
CLEARS_EXACTLY = {"unsync-clear-exact", "unsync-clear-complete"}


def with_its_requirements(patch_id):
    before = [
        each for wanted in get_patch(patch_id).requires for each in with_its_requirements(wanted)
    ]
    return (*dict.fromkeys(before), patch_id)


def every_variant():
    """One patch set for each machine the named sets and single patches come to."""
    found = {}
    for patch_set in NAMED.values():
        found.setdefault(resolve(patch_set).digest, patch_set)
    for base in bases():
        for patch in patches():
            patch_set = PatchSet(base.id, with_its_requirements(patch.id))
            try:
                found.setdefault(resolve(patch_set).digest, patch_set)
            except WrongBase:
                continue
    return list(found.values())


def is_unsound(patch_set):
    """Marking stops early while stale marks stay; one list of all unsync pages needs no marks."""
    chosen = set(patch_set.patches)
    listed = "unsync-list-global" in chosen
    return bool(chosen & STOPS_EARLY) and not chosen & CLEARS_EXACTLY and not listed


@pytest.fixture(scope="module")
def boot():
    patch_sets = every_variant()
    path = TRACES / "linux61-boot-1cpu.rft"
    return list(zip(patch_sets, replay(path, list(map(resolve, patch_sets))), strict=True))


def test_the_real_guest_agrees_with_every_sound_variant_in_every_access(boot):
    assert len(boot) > 80
    for patch_set, result in boot:
        if not is_unsound(patch_set):
            assert (result.disagreement_count, result.stopped) == (0, None), patch_set
            assert result.semantics["witnessed"] == 1855437


def test_each_unsound_variant_goes_wrong_on_the_boot_capture(boot):
    unsound = [(patch_set, result) for patch_set, result in boot if is_unsound(patch_set)]
    assert len(unsound) == 10
    for patch_set, result in unsound:
        assert result.semantics["missed_fault"] >= 32, patch_set


def test_patch_3_goes_wrong_where_the_real_code_did(boot):
    result = dict(boot)[NAMED["p3"]]
    first = min(result.findings, key=lambda finding: finding.operation_index)
    assert (first.operation_index, first.gva, first.got) == (1302744, 0x7FC8AA720000, 0x29E6000)
    assert result.semantics["wrong_address"] == result.semantics["missed_fault"] == 32


def test_a_guest_at_work_notices_no_variant():
    variants = list(map(resolve, every_variant()))
    for variant, result in zip(
        variants, replay(TRACES / "linux61-workload-1cpu.rft", variants), strict=True
    ):
        assert result.disagreement_count == 0, variant.name
