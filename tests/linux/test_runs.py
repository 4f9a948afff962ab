"""A kernel of one's own on captured guests: it agrees, and what a patch breaks is found."""

import gc
import json
from pathlib import Path

import pytest

from refault.catalogue import KERNEL, Parameters, PatchSet, patch_set_from_text, resolve
from refault.engines.kernel import host as kernel_host
from refault.errors import InvalidParameter, UnknownBase, WrongBase
from refault.golden import cases_in, check
from refault.golden.faithful import agreement_of, captures
from refault.linux.variants import resolve_kernel
from refault.replay.session import replay
from refault.results import DISAGREEMENTS
from tests.engines.guests import Guest, deepened
from tests.engines.host_calls import four_pages
from tests.fixtures.trees import in_function, patient_with_writes, without_invalidation

BOOT, WORKLOAD = (Path(f"demo/traces/linux61-{name}-1cpu.rft") for name in ("boot", "workload"))

FIVE_LEVELS = Path("demo/corpus/fork-5level-1cpu.rft")

#: Golden runs of 2.6.34 with patch 2 that these kernels answer otherwise, and why.
KNOWN = {
    "x01_pse_off": "a large entry of 32-bit tables counts only with CR4.PSE",
    "x02_pat_reserved": "bit 7 of a level-1 entry is PAT",
    "x03_pat_reserved_bypass": "bit 7 of a level-1 entry is PAT",
    "m06_pae_wp_nx_np_30k": "stores of the kernel with CR0.WP off",
    "m12_32bit_bypass_wp_np_30k": "no instruction-fetch bit without NX or SMEP",
    "m16_switch_split_4cpu_bypass_30k": "a CR3 outside memory ends in a triple fault, not in #GP",
    "s13_pge_toggle": "a write to CR4 syncs; a defect of patch 2's base",
    "s17_permissions": "reserved bits of upper levels are looked at",
    "s19a_shrink_limit_in_use": "2.6.34 broke there",
    "s19d_limit_below_refill": "2.6.34 broke there",
    "s20_write_protect_off": "the CR0.WP defect of 2.6.34 is fixed",
    "s28_dirtylog_large_without_log": "the livelock of 2.6.34 is fixed",
}
#: And those of one release alone.
KNOWN_OF = {
    "5.10": {"m13_switch_1cpu_20k": "no instruction-fetch bit in 32-bit paging, even with NX"},
}


#: And with two-dimensional paging, where the guest's tables are walked anew by every access.
KNOWN_TDP = (
    KNOWN
    | {
        "s05_invlpg": "what INVLPG was not told of is not stale: no TLB is simulated",
        "m13_switch_1cpu_20k": "no instruction-fetch bit where paging is not PAE's",
    }
).keys() - {"s13_pge_toggle"}


def of(made, **parameters):
    return resolve_kernel(PatchSet(f"{KERNEL}{made.digest}", parameters=Parameters(**parameters)))


def test_every_witness_of_the_captures_agrees(build, release):
    (base,) = build(release)
    found = agreement_of(of(base), captures())
    assert found.is_whole
    assert found.witnessed == 1855437 + 1081371


def test_golden_outcomes_agree_but_for_what_later_kernels_mended(build, release):
    (base,) = build(release)
    cases = cases_in(Path("tests/golden"), traces=Path("demo/traces"), variants=["p2"])
    verdicts = [check(case, engine=f"{KERNEL}{base.digest}") for case in cases]
    assert len(verdicts) > 50
    known = KNOWN | KNOWN_OF.get(release, {})
    assert {verdict.name for verdict in verdicts if not verdict.agrees} == set(known)


def test_a_guest_with_five_levels_sees_what_the_real_one_saw(build, release):
    (base,) = build(release)
    shadow, tdp = replay(FIVE_LEVELS, [of(base), of(base, tdp=1)])
    for result in (shadow, tdp):
        assert (result.semantics["witnessed"], result.finding_count) == (860973, 0)
    assert shadow.outcome_digest == tdp.outcome_digest
    # Each store to a table went through the guest's own mapping, in the map that five levels have.
    assert set(shadow.skipped) == {"device", "store-carried-by-table-store"}


def test_a_fifth_level_changes_nothing_below_it(build):
    (base,) = build("6.12")
    flat = four_pages().load(0x9000).store(0x4000, 3).fetch(0x1000).load(0x1000, user=0)
    flat.table(14, {0: 0}).cr3(14 << 12).load(0).cr3(0x1000).invlpg(0x2000).load(0x2000)
    guests = [deepened(flat, slot) for slot in (0xAB, 0x1AB)]
    # The same number of events, which outcomes are told with.
    flat.rows[2:2] = Guest().poke(0x3FF000, 0).rows[2:] * (len(guests[0].rows) - len(flat.rows))
    variants = [of(base), of(base, tdp=1)]
    found = [result for guest in (flat, *guests) for result in replay(guest.trace(), variants)]
    assert len({result.outcome_digest for result in found}) == 1
    assert not any(result.stopped or result.skipped for result in found)


def test_two_dimensional_paging_lets_the_guests_see_the_same_and_costs_less(build, release):
    (base,) = build(release)
    for trace in captures():
        shadow, tdp = replay(trace, [of(base), of(base, tdp=1)])
        assert tdp.outcome_digest == shadow.outcome_digest
        assert not any(tdp.semantics[name] for name in DISAGREEMENTS)
        assert not tdp.counters["mmu_pte_write"]
        assert not tdp.counters["invlpg"]
        assert 0 < 2 * tdp.counters["exits"] < shadow.counters["exits"]


def test_golden_outcomes_agree_with_two_dimensional_paging_too(build, release):
    (base,) = build(release)
    cases = cases_in(Path("tests/golden"), traces=Path("demo/traces"), variants=["p2"])
    verdicts = [check(case, engine=f"{KERNEL}{base.digest},tdp=1") for case in cases]
    assert {verdict.name for verdict in verdicts if not verdict.agrees} == KNOWN_TDP


def test_two_dimensional_paging_is_refused_on_the_model():
    for text in ("p3,tdp=1", "walk,tdp=1"):
        with pytest.raises(InvalidParameter, match="tdp"):
            resolve(patch_set_from_text(text))


def test_a_run_gives_the_same_bytes_again_and_in_company(build, release):
    (base,) = build(release)
    alone = replay(WORKLOAD, [of(base)])[0].to_bytes()
    assert replay(WORKLOAD, [of(base), of(base, page_limit=300)], threads=2)[0].to_bytes() == alone


def test_counters_are_the_trees_own(build):
    (base,) = build("6.12")
    (result,) = replay(WORKLOAD, [of(base)])
    # As an earlier harness around the same code counted them, with glue of its own.
    assert result.counters["mmu_pte_write"] == 5571
    assert result.counters["mmu_flooded"] == 1554
    assert result.counters["remote_tlb_flush"] == 0


def test_a_series_is_judged_patch_by_patch(build, patch_of):
    patches = patch_of(
        "6.12",
        ("Say what INVLPG is about", in_function("kvm_mmu_invlpg", lambda body: body + "\n\t;")),
        ("Be patient with writes", patient_with_writes),
        ("INVLPG has nothing to do", without_invalidation),
    )
    base, harmless, costly, unsound = replay(
        WORKLOAD, [of(made) for made in build("6.12", patches)]
    )
    assert harmless.outcome_digest == base.outcome_digest
    assert harmless.counters == base.counters
    assert harmless.page_digest == base.page_digest != "none"
    assert costly.outcome_digest == base.outcome_digest
    assert costly.counters["mmu_pte_write"] == 13336
    wrong = {name: unsound.semantics[name] for name in DISAGREEMENTS if unsound.semantics[name]}
    assert wrong == {"wrong_address": 232, "missed_fault": 43}
    assert unsound.findings[0].operation_index == 8660


def test_a_counter_that_a_patch_adds_appears_by_itself(build, patch_of):
    """Its name alone is new: the table of the tree's statistics is all that is read."""
    known = "STATS_DESC_COUNTER(VM, mmu_flooded),"
    field = "offsetof(struct kvm, stat.mmu_flooded)"
    patches = patch_of(
        "6.12",
        (
            "Count floods by another name as well",
            lambda text: text.replace(
                known,
                f"{known}\n\t{{ .flags = KVM_STATS_TYPE_CUMULATIVE, .size = 1,"
                f' .offset = {field} - offsetof(struct kvm, stat), .name = "table_floods" }},',
                1,
            ),
        ),
        file="arch/x86/kvm/x86.c",
    )
    _, patched = build("6.12", patches)
    (result,) = replay(WORKLOAD, [of(patched)])
    assert result.counters["table_floods"] == result.counters["mmu_flooded"] == 1554


def first(code):
    """An edit that puts code before the first statement of a function."""

    def edited(body):
        place = body.index("{") + 2
        return body[:place] + code + body[place:]

    return edited


WARNS = "\tWARN_ON_ONCE(gva == gva);\n"
BREAKS = "\tBUG_ON(gva == gva);\n"
CRASHES = "\t*(volatile int *)8 = 1;\n"
LEAVES = '\tasm volatile("syscall" : : "a"(41), "D"(2), "S"(1), "d"(0) : "rcx", "r11", "memory");\n'


@pytest.mark.parametrize(
    ("code", "kind", "stops"),
    [
        (WARNS, "kernel-warning", False),
        (BREAKS, "bug", True),
        (CRASHES, "signal", True),
        (LEAVES, "sandbox", True),
    ],
)
def test_what_a_kernel_does_wrong_is_a_finding_with_its_place(
    build, patch_of, tree, code, kind, stops
):
    patches = patch_of("6.12", ("Go wrong", in_function("kvm_mmu_invlpg", first(code))))
    _, patched = build("6.12", patches)
    (result,) = replay(WORKLOAD, [of(patched)])
    finding = next(finding for finding in result.findings if finding.kind == kind)
    assert finding.operation_index > 0
    assert (result.stopped is not None) == stops
    if kind in ("kernel-warning", "bug"):
        text = (tree("6.12") / "arch/x86/kvm/mmu/mmu.c").read_text()
        start = text.index("\nvoid kvm_mmu_invlpg(")
        line = text.count("\n", 0, text.index("{", start)) + 2
        assert f"arch/x86/kvm/mmu/mmu.c:{line}" in finding.message
        assert "1 times" not in finding.message


def test_a_function_that_nobody_has_stops_the_run_with_its_name(build, patch_of):
    asks = "\tkvm_cpu_has_interrupt(vcpu);\n"
    patches = patch_of("6.12", ("Ask the APIC", in_function("kvm_mmu_invlpg", first(asks))))
    _, patched = build("6.12", patches)
    (result,) = replay(WORKLOAD, [of(patched)])
    assert result.stopped is not None
    assert (result.stopped.kind, result.stopped.message) == (
        "missing-function",
        "kvm_cpu_has_interrupt",
    )


def test_a_late_access_to_freed_memory_is_reported_with_its_place(build, patch_of):
    free = "\tkmem_cache_free(mmu_page_header_cache, sp);\n"
    patches = patch_of(
        "6.12", ("Tidy up", lambda text: text.replace(free, f"{free}\tsp->unsync = false;\n", 1))
    )
    base, patched = build("6.12", patches, sanitize=True)
    clean, result = replay(WORKLOAD, [of(base), of(patched)])
    assert clean.stopped is None
    assert result.stopped is not None
    assert result.stopped.kind == "sanitizer"
    assert result.stopped.message.startswith("heap-use-after-free in kvm_mmu_free_shadow_page")
    assert "arch/x86/kvm/mmu/mmu.c:" in result.stopped.message
    assert "libsanitizer" not in result.stopped.message


def test_options_of_the_old_kernel_are_refused(build):
    (base,) = build("6.12")
    name = f"{KERNEL}{base.digest}"
    for parameters in (Parameters(bypass=1), Parameters(tlb=1)):
        with pytest.raises(InvalidParameter, match="kernel of your own"):
            resolve_kernel(PatchSet(name, parameters=parameters))
    with pytest.raises(WrongBase, match="of the catalogue"):
        resolve_kernel(PatchSet(name, ("zap-account",)))


def test_the_catalogue_says_where_a_kernel_of_ones_own_runs():
    asked = patch_set_from_text("kernel:mine+1..2,page-limit=128")
    assert (asked.base, asked.patches) == ("kernel:mine+1..2", ())
    with pytest.raises(UnknownBase, match="only that machine runs it"):
        resolve(asked)


def test_the_demo_captures_are_what_a_kernel_is_held_to():
    assert captures() == sorted(path.resolve() for path in (BOOT, WORKLOAD))


def test_result_documents_hold_the_build(build):
    (base,) = build("6.12")
    document = of(base).to_dict()
    assert document["build"] == base.digest
    assert json.loads(json.dumps(document)) == document


def test_a_run_that_is_over_leaves_no_process(build, monkeypatch):
    """Its host must not wait for a collection of garbage: a worker has few, and each has a VM."""
    (base,) = build("6.12")
    started = []
    program = kernel_host.Program

    def recorded(*given, **options):
        made = program(*given, **options)
        started.append(made.pid)
        return made

    monkeypatch.setattr(kernel_host, "Program", recorded)
    gc.disable()
    try:
        replay(WORKLOAD, [of(base), of(base, tdp=1)])
        assert len(started) == 2
        assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    finally:
        gc.enable()
