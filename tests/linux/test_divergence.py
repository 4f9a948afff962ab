"""Where a kernel of one's own parts from another variant."""

from pathlib import Path

import pytest

from refault.catalogue import KERNEL, Parameters, PatchSet, patch_set_from_text, resolve
from refault.diverge.diverging import diverge
from refault.diverge.search import Job
from refault.linux.variants import resolve_kernel
from refault.replay import outcomes as out
from tests.fixtures.trees import packed

BOOT, WORKLOAD = (Path(f"demo/traces/linux61-{name}-1cpu.rft") for name in ("boot", "workload"))


@pytest.fixture(scope="module")
def pack():
    return packed("6.12")


@pytest.fixture
def kernel(pack, build):
    (made,) = build("6.12")
    return lambda **parameters: resolve_kernel(
        PatchSet(f"{KERNEL}{made.digest}", parameters=Parameters(**parameters))
    )


def test_a_kernel_and_a_broken_patch_part_where_the_model_and_it_do(kernel):
    p3 = resolve(patch_set_from_text("p3"))
    [found] = diverge(Job(BOOT, [kernel(), p3], threads=2)).divergences
    assert found.operation.event == 1_340_566
    assert (found.first.code, found.second.code) == (out.PF, out.OK)
    assert not found.before.first.is_kept
    assert found.before.second.walk[-1].unsync


def test_two_kernels_have_pages_and_a_guest_whose_tables_are_walked_beside_them(kernel):
    pair = [kernel(), kernel(page_limit=100)]
    first, following = diverge(Job(WORKLOAD, pair, threads=2), "pages", wants_next=True).divergences
    assert not first.before.pages
    assert first.after.pages
    assert first.before.first.guest.gpa == first.first.address
    assert following.row > first.row
    account = diverge(Job(WORKLOAD, pair, threads=2), "tlb_flush").account
    assert account.difference
    assert account.curve[-1][1] == account.difference
    assert not account.carriers
