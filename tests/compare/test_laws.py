import pytest

from refault.compare import check
from refault.errors import ConservationError
from tests.builders import BOOT, WORKLOAD, make_finding, make_result

WORK = {
    "tlb_hits": 0,
    "walks": 1_855_437,
    "vm_exits": 200_000,
    "mmio_exits": 0,
    "insn_emulation": 0,
    "insn_emulation_fail": 0,
    "hypercalls": 0,
}


@pytest.mark.parametrize("counters", [*BOOT.values(), *WORKLOAD.values()])
def test_the_real_code_keeps_every_law(counters):
    check(make_result(counters=counters, semantics={"accesses": 9, "witnessed": 9}))


@pytest.mark.parametrize(
    ("change", "law"),
    [
        ({"counters": {"exits": 80593}}, r"pf_fixed <= exits .*pf_fixed 80594, exits 80593"),
        ({"counters": {"mmu_recycled": 6095}}, "mmu_recycled <= mmu_shadow_zapped"),
        ({"counters": {"mmu_flooded": 6095}}, "mmu_flooded <= mmu_shadow_zapped"),
        ({"counters": {"active": 5276}}, "active <= mmu_cache_miss"),
        ({"counters": {"mmu_cache_miss": 6296}}, "mmu_cache_miss - mmu_shadow_zapped <= active"),
        ({"counters": {"mmu_unsync": 202}}, "mmu_unsync <= active"),
        ({"counters": {"remote_tlb_flush": 22223}}, "remote_tlb_flush <= flush_calls"),
        ({"counters": {"tlb_flush": 40947}}, "tlb_flush <= hw_flush"),
        ({"counters": {"lpages": -1}}, r"no counter is negative .*lpages -1"),
        ({"semantics": {"other": -1}}, r"no semantics count is negative .*other -1"),
        ({"semantics": {"witnessed": 1_855_438}}, "witnessed <= accesses"),
        ({"operation_count": 1_855_436}, "accesses <= operation_count"),
        (
            {"semantics": {"accesses": 5, "witnessed": 4, "other": 3, "missed_fault": 2}},
            r"missed_fault .* other <= witnessed",
        ),
        ({"semantics": {"wrong_address": 1, "stale": 2}}, r"stale <= wrong_address"),
        (
            {"work": WORK | {"tlb_hits": 5, "walks": 1_855_431}},
            r"accesses = tlb_hits \+ walks .*accesses 1855437, tlb_hits 5, walks 1855431",
        ),
        (
            {"work": WORK | {"tlb_hits": 1_855_438, "walks": -1}},
            r"no work count is negative .*walks -1",
        ),
        ({"work": WORK | {"vm_exits": 5}}, r"exits <= vm_exits .*vm_exits 5"),
        (
            {"work": WORK | {"mmio_exits": 2, "insn_emulation": 1}},
            r"insn_emulation_fail \+ mmio_exits <= insn_emulation",
        ),
    ],
)
def test_a_result_that_breaks_a_law_is_refused_with_its_numbers(change, law):
    with pytest.raises(ConservationError, match=law):
        check(make_result(**change))


def test_a_run_that_stopped_on_a_defect_is_held_to_the_laws_that_survive_one():
    stopped = make_finding(kind="use-after-free")
    check(make_result(counters={"active": 5276}, stopped=stopped))
    with pytest.raises(ConservationError, match="no counter is negative"):
        check(make_result(counters={"active": -1}, stopped=stopped))


def test_the_message_names_trace_and_variant():
    result = make_result(counters={"exits": 0})
    with pytest.raises(ConservationError, match=f"trace {result.trace_digest[:12]}, variant "):
        check(result)
