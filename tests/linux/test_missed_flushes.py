"""A flush that a patch leaves out is a finding, though the walks of the run hide it.

The program walks KVM's tables at each access, so nothing stale is ever reached there. Beside the
walks each vCPU has a TLB that watches (refault/linux/runtime/tlb.c).
"""

import re
from pathlib import Path

import pytest

from refault.audits import AuditReport, Level
from refault.catalogue import KERNEL, Parameters, PatchSet
from refault.compare.audit_report import report_text
from refault.engines.audit.auditing import audit
from refault.linux.variants import resolve_kernel
from refault.replay.session import replay
from refault.synth import Order, make
from refault.trace import EventKind
from tests.engines.guests import A, Guest, P, deepened
from tests.engines.host_calls import CASES, DATA, FULL, four_pages, itself, log, unmap_range
from tests.fixtures.trees import X86, with_fewer_flushes

BOOT = Path("demo/traces/linux61-boot-1cpu.rft")
OTHER = 120


def of(made, **parameters):
    return resolve_kernel(PatchSet(f"{KERNEL}{made.digest}", parameters=Parameters(**parameters)))


def without(function, call, told=""):
    """An edit that takes a call out of a function, from its name at the left margin to its end."""

    def edited(text):
        start = re.search(rf"(?m)^[a-z][^;{{}}]*\b{function}\([^;{{}}]*\)\n{{", text).start()
        end = text.index("\n}", start)
        return text[:start] + text[start:end].replace(call, told) + text[end:]

    return edited


def all_of(*edits):
    def edited(text):
        for edit in edits:
            assert edit(text) != text
            text = edit(text)
        return text

    return edited


@pytest.fixture
def careless(build, patch_of):
    """Linux 6.12 without five of its flushes."""
    in_mmu = all_of(
        with_fewer_flushes,
        without(
            "account_shadowed", "\t\tkvm_flush_remote_tlbs_gfn(kvm, gfn, PG_LEVEL_4K);", "\t\t;"
        ),
        without("kvm_unmap_gfn_range", "return flush;", "return false;"),
    )
    in_x86 = all_of(
        without(
            "kvm_invalidate_pcid", "\t\tkvm_make_request(KVM_REQ_TLB_FLUSH_CURRENT, vcpu);\n", ""
        ),
        without("kvm_mmu_slot_apply_flags", "\t\tkvm_flush_remote_tlbs_memslot(kvm, new);\n"),
    )
    patches = [
        *patch_of("6.12", ("Flush less", in_mmu)),
        *patch_of("6.12", ("And still less", in_x86), file=X86),
    ]
    return build("6.12", patches)[-1]


def two_roots():
    guest = four_pages()
    for table in (11, 12, 13):
        guest.table(table, {0: (table + 1) << 12 | FULL})
    return guest.table(14, {0: OTHER << 12 | FULL})


def becomes_a_table():
    """A page that is written, and then a table that another address leads through."""
    guest = itself().store(0xA000 + 8, (DATA + 5) << 12 | FULL)
    return guest.store(0x5000, 106 << 12 | FULL).load(0x200000).store(0x5008, 106 << 12 | FULL)


GUESTS = {
    "the guest's, by CR3": (
        lambda: two_roots().cr3(11 << 12).load(0).cr3(0x1000).load(0),
        rf"vCPU 0 can still reach gfn {OTHER:#x}, where the guest's tables give {DATA:#x}: it flu",
    ),
    "the guest's, with five levels": (
        lambda: deepened(two_roots().cr3(11 << 12).load(0).cr3(0x1000).load(0), 0x1AB),
        rf"vCPU 0 can still reach gfn {OTHER:#x}, where the guest's tables give {DATA:#x}: it flu",
    ),
    "the guest's, where a #PF is due": (
        lambda: (
            two_roots().cr3(11 << 12).load(0).cr3(0x1000).store(0x3000).cr3(11 << 12).load(0x3000)
        ),
        rf"vCPU 0 can still reach gfn {DATA + 3:#x}, where the guest's tables give a #PF",
    ),
    "a frame unmapped": (
        lambda: unmap_range(four_pages(), DATA, 1).load(0),
        rf"vCPU 0 can still reach gfn {DATA:#x}: the host unmapped it at operation \d+, and no ",
    ),
    "a log begun": (
        lambda: log(four_pages()).store(0x1000),
        rf"vCPU 0 can still store to gfn {DATA + 1:#x} unseen: its slot's dirty log began anew at ",
    ),
    "a table write-protected": (
        becomes_a_table,
        rf"vCPU 0 can still store to gfn {DATA + 5:#x} unseen: it is a guest's table that is ",
    ),
    "a shadow page given back": (
        lambda: four_pages().add(EventKind.OP_SHRINK, a=1),
        r"a shadow page's table is given back while vCPU 0 can still walk it: no flush followed",
    ),
}


def findings_of(guest, variant):
    (result,) = replay(guest.trace(), [variant])
    assert result.stopped is None
    return [found for found in result.findings if found.kind == "missed-flush"]


def test_each_reason_for_a_flush_is_told_with_its_place(build, careless):
    (base,) = build("6.12")
    for name, (guest, told) in GUESTS.items():
        assert findings_of(guest(), of(base)) == [], name
        found = findings_of(guest(), of(careless))
        assert any(re.match(told, finding.message) for finding in found), (name, found)
        place = next(finding for finding in found if re.match(told, finding.message))
        kind, vcpu, *_, gva, _ = guest().rows[place.event_index]
        is_host = kind == EventKind.OP_SHRINK
        assert (place.vcpu, place.gva) == ((None, None) if is_host else (vcpu, gva)), name


def test_the_walks_of_the_run_hide_it(build, careless):
    (base,) = build("6.12")
    for name, (guest, _) in GUESTS.items():
        seen = {replay(guest().trace(), [of(each)])[0].outcome_digest for each in (base, careless)}
        # Whether a frame was mapped is what the host is told by the flush.
        assert len(seen) == 1 + (name == "a frame unmapped"), name


def test_what_is_pending_is_no_fault(build, release):
    """Each release as it is, on what hosts ask for, random hosts and all that guests flush."""
    (base,) = build(release)
    for tdp in (0, 1):
        for name, guest in CASES.items():
            assert findings_of(guest(), of(base, tdp=tdp)) == [], name
        for guest, _ in GUESTS.values():
            assert findings_of(guest(), of(base, tdp=tdp)) == []


def test_a_log_that_is_on_does_not_begin_once_more(build, release):
    """KVM does nothing then: what a processor still knows is no fault, and nothing is forgotten."""
    (base,) = build(release)
    guest = log(four_pages()).store(0x1000)
    assert findings_of(log(guest).store(0x1000), of(base)) == []


@pytest.mark.parametrize("recipe", ["migration", "pressure"])
def test_synthetic_hosts_find_none(build, release, recipe, tmp_path):
    (base,) = build(release)
    place = tmp_path / "guest.rft"
    make(Order(recipe, events=300_000), place)
    for tdp in (0, 1):
        (result,) = replay(place, [of(base, tdp=tdp)])
        assert not result.findings


def test_freed_tables_of_a_real_guest_are_told(build, patch_of):
    """The patch asks for fewer flushes and changes nothing that the guest's walks can see."""
    (base, less) = build("6.12", patch_of("6.12", ("Flush less", with_fewer_flushes)))
    whole, found = replay(BOOT, [of(base), of(less)])
    assert found.outcome_digest == whole.outcome_digest
    assert found.counters["tlb_flush"] < whole.counters["tlb_flush"]
    assert not whole.findings
    assert found.findings[0].kind == "missed-flush"
    assert (found.findings[0].operation_index, found.findings[0].vcpu) == (43625, 0)


def test_captures_of_pae_guests_agree(build, release):
    """The emulator set A in the entries that CR3 leads to, which these kernels would refuse."""
    (base,) = build(release)
    for name in ("boot-pae-1cpu", "fork-pae-1cpu", "fork-32bit-1cpu"):
        (result,) = replay(Path(f"demo/corpus/{name}.rft"), [of(base)])
        assert not result.findings, name


def test_a_guest_of_operations_keeps_its_reserved_bits(build, release):
    """What a trace of operations stores in such an entry is the guest's own doing."""
    (base,) = build(release)

    def seen(entry):
        guest = Guest().table(1, {0: entry}).table(2, {0: 3 << 12 | FULL})
        guest.table(3, {0: DATA << 12 | FULL}).boot(0x1000, cr4=0x20, efer=0x800).load(0)
        return replay(guest.trace(), [of(base)])[0].outcome_digest

    assert seen(2 << 12 | P | A) == seen(0) != seen(2 << 12 | P)


def test_an_audit_says_what_the_run_found_itself(build, careless, tmp_path):
    """Its own checks look at outcomes, which are right."""
    (base,) = build("6.12")
    trace = tmp_path / "guest.rft"
    trace.write_bytes(log(four_pages()).store(0x1000).bytes())
    whole, found = audit(trace, [of(base), of(careless)], Level())
    assert whole.is_sound
    assert not whole.reported
    assert "reported" not in whole.to_dict()
    assert not found.failed
    assert not found.is_sound
    (told,) = found.reported
    assert re.match(r"missed-flush, first at operation \d+ \(event \d+\): vCPU 0 can still ", told)
    assert AuditReport.from_dict(found.to_dict()) == found
    text = report_text(found, title="a guest", command=["refault", "audit"])
    assert "The kernel's own run reports missed-flush" in " ".join(text.split())
