"""Where a kernel of one's own parts from another variant."""

import itertools
from pathlib import Path

import pytest

from refault.catalogue import KERNEL, Parameters, PatchSet, patch_set_from_text, resolve
from refault.diverge.diverging import diverge
from refault.diverge.position import part_of
from refault.diverge.search import Job
from refault.engines import get_engine
from refault.engines.base import Watch
from refault.linux.variants import resolve_kernel
from refault.replay import outcomes as out
from refault.replay import records as rec
from refault.replay.budget import Budget
from refault.replay.lowering.rows import operations_of
from refault.trace import TraceReader
from tests.fixtures.trees import packed

#: Parts of the capture before the first row that is looked at, and how many rows are.
PARTS_BEFORE, LOOKED_AT = 6, 5000
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


def test_a_row_that_is_looked_at_is_recorded_as_if_all_had_been(kernel):
    """Also what is not told otherwise: the value that a load reads, and whether it was emulated."""
    engine, variant = get_engine("kernel"), kernel()

    def records(*, all_along):
        with WORKLOAD.open("rb") as file, TraceReader(file) as trace:
            host = engine.open(variant, trace.header, Budget(), Watch(record_all=all_along))
            host.begin()
            parts = operations_of(trace.header, trace.blocks(), {})
            for ops, count, _ in itertools.islice(parts, PARTS_BEFORE):
                host.execute(ops, count)
            ops, *_ = next(parts)
            host.notes.log.state[rec.RECORD_ALL] = 1
            host.notes.findings.raw = []
            for row in range(LOOKED_AT):
                host.execute(part_of(ops, row, row + 1), 1)
        told = [record for raw in host.notes.findings.raw for record in raw.tolist()]
        return [
            (each[rec.CODE], each[rec.ADDRESS], each[rec.VALUE], each[rec.EMULATED])
            for each in told
        ]

    found = records(all_along=False)
    assert len(found) > LOOKED_AT // 2
    assert {bool(emulated) for *_, emulated in found} == {False, True}
    assert found == records(all_along=True)


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
