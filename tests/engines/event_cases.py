"""Small guests and the events their last operations cause, written by hand from mmutrace.h.

``python -m tests.engines.event_cases`` prints the log of each, however the kernels run.
"""

import sys
import textwrap

from refault.catalogue import PatchSet, patch_set_from_text, resolve
from refault.replay.session import replay
from refault.trace import EventKind
from tests.engines.guests import A, D, Guest, P, U, W

BASE = PatchSet()
V35 = PatchSet(base="v2.6.35.6")
BATCH = PatchSet(patches=("zap-return-self", "zap-batch"))
NO_PGE = patch_set_from_text("p4r")


def log(guest, patch_set=BASE):
    """The whole log as the kernel's trace file would have it."""
    written = []
    replay(guest.trace(), [resolve(patch_set)], events=written.append)
    return "".join(written)


def lines_since(guest, patch_set, operation):
    """Processor and text of each event from that operation on."""
    found = []
    for line in log(guest, patch_set).splitlines()[4:]:
        task, processor, stamp, text = line.split(maxsplit=3)
        assert task == "<...>-0"
        seconds, microseconds = stamp.rstrip(":").split(".")
        if int(seconds) * 1_000_000 + int(microseconds) >= operation:
            found.append(f"{processor} {text}")
    return found


def long_guest(**options):
    guest = Guest(pages=1024, **options)
    for table in (1, 2, 3):
        guest.table(table, {0: (table + 1) << 12 | P | W | U})
    guest.table(4, {0: 100 << 12 | P | W | U, 1: 4 << 12 | P | W | U | A | D})
    for vcpu in range(guest.vcpus):
        guest.boot(0x1000, vcpu=vcpu)
    return guest


def operation_count(guest):
    """OP_BOOT_CR is no operation of its own."""
    return sum(row[0] != EventKind.OP_BOOT_CR for row in guest.rows)


CASES = {}


def case(before, what, patch_set, text):
    """Of the events of ``what`` done to the guest ``before``, all are in ``text``."""

    def register(name):
        CASES[name] = (before, what, patch_set, textwrap.dedent(text).strip("\n").split("\n"))

    return register


def unsync_guest():
    return long_guest().load(0x1000)


def two_roles_guest():
    """Table 4 is reached through a writable and through a read-only directory entry."""
    guest = long_guest().poke(0x3008, 4 << 12 | P | U)
    return guest.load(0).load(0x200000)


def nonpaging_guest():
    return Guest(pages=1024).boot(0, cr0=0x33, cr4=0, efer=0)


def legacy_guest():
    guest = Guest(pages=1024).poke(0x1000, 0x2007).poke(0x2010, 0x64007 << 32)
    return guest.boot(0x1000, cr4=0x10, efer=0)


def pae_guest():
    guest = Guest(pages=1024).poke(0x1000, 0x2001).poke(0x2000, 0x3007).poke(0x3028, 0x64007)
    return guest.boot(0x1000, cr4=0x20, efer=0)


def zapped_guest():
    return long_guest().load(0).add(EventKind.OP_ZAPALL)


case(
    unsync_guest,
    lambda guest: guest.cr3(0x1000),
    BASE,
    """
    [000] kvm_cr: cr_write 3 = 0x1000
    [000] kvm_mmu_sync_page: sp gfn 4 1/4 q0 wux !pge !nxe root 0 unsync
    """,
)("loading the same CR3 syncs the table that went out of sync")
case(
    long_guest,
    lambda guest: guest.load(0x1000),
    BASE,
    """
    [000] kvm_mmu_get_page: sp gfn 1 4/4 q0 wux !pge !nxe root 0 sync new
    [000] kvm_page_fault: address 1000 error_code 4
    [000] kvm_mmu_pagetable_walk: addr 1000 pferr 4 U
    [000] kvm_mmu_paging_element: pte 2007 level 4
    [000] kvm_mmu_set_accessed_bit: gpa 1000
    [000] kvm_mmu_paging_element: pte 3007 level 3
    [000] kvm_mmu_set_accessed_bit: gpa 2000
    [000] kvm_mmu_paging_element: pte 4007 level 2
    [000] kvm_mmu_set_accessed_bit: gpa 3000
    [000] kvm_mmu_paging_element: pte 4067 level 1
    [000] kvm_mmu_get_page: sp gfn 2 3/4 q0 wux !pge !nxe root 0 sync new
    [000] kvm_mmu_get_page: sp gfn 3 2/4 q0 wux !pge !nxe root 0 sync new
    [000] kvm_mmu_get_page: sp gfn 4 1/4 q0 wux !pge !nxe root 0 sync new
    [000] kvm_mmu_unsync_page: sp gfn 4 1/4 q0 wux !pge !nxe root 0 sync
    """,
)("a table mapped writable goes out of sync on a read")
case(
    long_guest,
    lambda guest: guest.load(0x1000),
    V35,
    """
    [000] kvm_mmu_get_page: sp gfn 1 4 pae q0 wux !nxe root 0 sync new
    [000] kvm_page_fault: address 1000 error_code 4
    [000] kvm_mmu_pagetable_walk: addr 1000 pferr 4 U
    [000] kvm_mmu_paging_element: pte 2007 level 4
    [000] kvm_mmu_set_accessed_bit: gpa 1000
    [000] kvm_mmu_paging_element: pte 3007 level 3
    [000] kvm_mmu_set_accessed_bit: gpa 2000
    [000] kvm_mmu_paging_element: pte 4007 level 2
    [000] kvm_mmu_set_accessed_bit: gpa 3000
    [000] kvm_mmu_paging_element: pte 4067 level 1
    [000] kvm_mmu_get_page: sp gfn 2 3 pae q0 wux !nxe root 0 sync new
    [000] kvm_mmu_get_page: sp gfn 3 2 pae q0 wux !nxe root 0 sync new
    [000] kvm_mmu_get_page: sp gfn 4 1 pae q0 wux !nxe root 0 sync new
    [000] kvm_mmu_unsync_page: sp gfn 4 1 pae q0 wux !nxe root 0 sync
    """,
)("2.6.35 tells CR4.PAE instead of levels, and nothing of CR4.PGE")
case(
    unsync_guest,
    lambda guest: guest.add(EventKind.OP_UNSHADOW, a=0x3000),
    BASE,
    """
    [000] kvm_mmu_zap_page: sp gfn 3 2/4 q0 wux !pge !nxe root 0 sync
    [000] kvm_mmu_zap_page: sp gfn 4 1/4 q0 wux !pge !nxe root 0 unsync
    """,
)("an unsync child is zapped behind its parent")
case(
    unsync_guest,
    lambda guest: guest.add(EventKind.OP_UNSHADOW, a=0x3000),
    V35,
    """
    [000] kvm_mmu_zap_page: sp gfn 3 2 pae q0 wux !nxe root 0 sync
    [000] kvm_mmu_zap_page: sp gfn 4 1 pae q0 wux !nxe root 0 unsync
    [000] kvm_mmu_sync_page: sp gfn 4 1 pae q0 wux !nxe root 0 unsync
    """,
)("2.6.35 also calls it a sync when an unsync page is zapped")
case(
    unsync_guest,
    lambda guest: guest.add(EventKind.OP_UNSHADOW, a=0x3000),
    BATCH,
    """
    [000] kvm_mmu_prepare_zap_page: sp gfn 3 2/4 q0 wux !pge !nxe root 0 sync
    [000] kvm_mmu_prepare_zap_page: sp gfn 4 1/4 q0 wux !pge !nxe root 0 unsync
    """,
)("zapping in two steps has another name for its first")
case(
    two_roles_guest,
    lambda guest: guest.load(0x1000),
    BASE,
    """
    [000] kvm_page_fault: address 1000 error_code 4
    [000] kvm_mmu_pagetable_walk: addr 1000 pferr 4 U
    [000] kvm_mmu_paging_element: pte 2027 level 4
    [000] kvm_mmu_paging_element: pte 3027 level 3
    [000] kvm_mmu_paging_element: pte 4027 level 2
    [000] kvm_mmu_paging_element: pte 4067 level 1
    [000] kvm_mmu_unsync_page: sp gfn 4 1/4 q0 -ux !pge !nxe root 0 sync
    """,
)("2.6.34 tells of an unsync that is refused")
case(
    two_roles_guest,
    lambda guest: guest.load(0x1000),
    V35,
    """
    [000] kvm_page_fault: address 1000 error_code 4
    [000] kvm_mmu_pagetable_walk: addr 1000 pferr 4 U
    [000] kvm_mmu_paging_element: pte 2027 level 4
    [000] kvm_mmu_paging_element: pte 3027 level 3
    [000] kvm_mmu_paging_element: pte 4027 level 2
    [000] kvm_mmu_paging_element: pte 4067 level 1
    """,
)("2.6.35 does not")
case(
    lambda: long_guest(vcpus=2).load(0),
    lambda guest: guest.load(0, vcpu=1),
    BASE,
    "[001] kvm_mmu_get_page: sp gfn 1 4/4 q0 wux !pge !nxe root 1 sync existing",
)("the second vCPU finds the root of the first")
case(
    nonpaging_guest,
    lambda guest: guest.load(0x5000),
    BASE,
    """
    [000] kvm_mmu_get_page: sp gfn 0 2/0 q0 direct wux !pge !nxe root 0 sync new
    [000] kvm_mmu_get_page: sp gfn 0 2/0 q1 direct wux !pge !nxe root 0 sync new
    [000] kvm_mmu_get_page: sp gfn 0 2/0 q2 direct wux !pge !nxe root 0 sync new
    [000] kvm_mmu_get_page: sp gfn 0 2/0 q3 direct wux !pge !nxe root 0 sync new
    [000] kvm_page_fault: address 5000 error_code 4
    [000] kvm_mmu_get_page: sp gfn 0 1/0 q0 direct wux !pge !nxe root 0 sync new
    """,
)("a guest without paging walks nothing, on direct pages")
case(
    legacy_guest,
    lambda guest: guest.load(0x5000),
    BASE,
    """
    [000] kvm_mmu_get_page: sp gfn 1 2/2 q0 wux !pge !nxe root 0 sync new
    [000] kvm_mmu_get_page: sp gfn 1 2/2 q1 wux !pge !nxe root 0 sync new
    [000] kvm_mmu_get_page: sp gfn 1 2/2 q2 wux !pge !nxe root 0 sync new
    [000] kvm_mmu_get_page: sp gfn 1 2/2 q3 wux !pge !nxe root 0 sync new
    [000] kvm_page_fault: address 5000 error_code 4
    [000] kvm_mmu_pagetable_walk: addr 5000 pferr 4 U
    [000] kvm_mmu_paging_element: pte 2007 level 2
    [000] kvm_mmu_set_accessed_bit: gpa 1000
    [000] kvm_mmu_paging_element: pte 64007 level 1
    [000] kvm_mmu_set_accessed_bit: gpa 2014
    [000] kvm_mmu_get_page: sp gfn 2 1/2 q0 wux !pge !nxe root 0 sync new
    """,
)("a 32-bit directory has four shadows, and entries of four bytes")
case(
    pae_guest,
    lambda guest: guest.load(0x5000).load(0x40000000),
    BASE,
    """
    [000] kvm_mmu_get_page: sp gfn 2 2/3 q0 wux !pge !nxe root 0 sync new
    [000] kvm_page_fault: address 5000 error_code 4
    [000] kvm_mmu_pagetable_walk: addr 5000 pferr 4 U
    [000] kvm_mmu_paging_element: pte 2001 level 3
    [000] kvm_mmu_paging_element: pte 3007 level 2
    [000] kvm_mmu_set_accessed_bit: gpa 2000
    [000] kvm_mmu_paging_element: pte 64007 level 1
    [000] kvm_mmu_set_accessed_bit: gpa 3028
    [000] kvm_mmu_get_page: sp gfn 3 1/3 q0 wux !pge !nxe root 0 sync new
    [000] kvm_page_fault: address 40000000 error_code 4
    [000] kvm_mmu_pagetable_walk: addr 40000000 pferr 4 U
    [000] kvm_mmu_paging_element: pte 0 level 3
    [000] kvm_mmu_walker_error: pferr 4 U
    """,
)("a PAE walk begins with the cached PDPTE, which gets no A")
case(
    zapped_guest,
    lambda guest: guest.load(0x3000, user=0),
    BASE,
    """
    [000] kvm_mmu_zap_page: sp gfn 1 4/4 q0 wux invalid !pge !nxe root 0 sync
    [000] kvm_mmu_get_page: sp gfn 1 4/4 q0 wux !pge !nxe root 0 sync new
    [000] kvm_page_fault: address 3000 error_code 0
    [000] kvm_mmu_pagetable_walk: addr 3000 pferr 0\x20
    [000] kvm_mmu_paging_element: pte 2027 level 4
    [000] kvm_mmu_paging_element: pte 3027 level 3
    [000] kvm_mmu_paging_element: pte 4027 level 2
    [000] kvm_mmu_paging_element: pte 0 level 1
    [000] kvm_mmu_walker_error: pferr 0\x20
    """,
)("a root zapped while in use dies at the next entry, and no bit is an empty word")
case(
    lambda: long_guest().load(0),
    lambda guest: guest.add(EventKind.OP_ZAPALL),
    BASE,
    """
    [001] kvm_mmu_zap_page: sp gfn 4 1/4 q0 wux !pge !nxe root 0 sync
    [001] kvm_mmu_zap_page: sp gfn 3 2/4 q0 wux !pge !nxe root 0 sync
    [001] kvm_mmu_zap_page: sp gfn 2 3/4 q0 wux !pge !nxe root 0 sync
    [001] kvm_mmu_zap_page: sp gfn 1 4/4 q0 wux !pge !nxe root 1 sync
    """,
)("what the host does happens on the processor behind the last vCPU")
case(
    lambda: long_guest().load(0),
    lambda guest: guest.store(0, 1),
    BASE,
    """
    [000] kvm_page_fault: address 0 error_code 7
    [000] kvm_mmu_pagetable_walk: addr 0 pferr 6 W|U
    [000] kvm_mmu_paging_element: pte 2027 level 4
    [000] kvm_mmu_paging_element: pte 3027 level 3
    [000] kvm_mmu_paging_element: pte 4027 level 2
    [000] kvm_mmu_paging_element: pte 64027 level 1
    [000] kvm_mmu_set_dirty_bit: gpa 4000
    """,
)("a first write sets D in the guest's entry")
case(
    lambda: long_guest().poke(0x4018, 3 << 12 | P | W | U | A | D).load(0x3000),
    lambda guest: guest.store(0x3008, 0),
    BASE,
    """
    [000] kvm_page_fault: address 3008 error_code 7
    [000] kvm_mmu_pagetable_walk: addr 3008 pferr 6 W|U
    [000] kvm_mmu_paging_element: pte 2027 level 4
    [000] kvm_mmu_paging_element: pte 3027 level 3
    [000] kvm_mmu_paging_element: pte 4027 level 2
    [000] kvm_mmu_paging_element: pte 3067 level 1
    [000] kvm_mmu_pagetable_walk: addr 3008 pferr 6 W|U
    [000] kvm_mmu_paging_element: pte 2027 level 4
    [000] kvm_mmu_paging_element: pte 3027 level 3
    [000] kvm_mmu_paging_element: pte 4027 level 2
    [000] kvm_mmu_paging_element: pte 3067 level 1
    """,
)("an emulated store walks again for the emulator")
case(
    long_guest,
    lambda guest: guest.add(EventKind.OP_CR4, a=0xA0).add(EventKind.OP_CR0, a=0x80000033),
    NO_PGE,
    """
    [000] kvm_mmu_get_page: sp gfn 1 4/4 q0 wux !nxe root 0 sync new
    [000] kvm_cr: cr_write 4 = 0xa0
    [000] kvm_cr: cr_write 0 = 0x80000033
    """,
)("a role without CR4.PGE has no word for it")
case(
    lambda: long_guest().load(0),
    lambda guest: guest.add(EventKind.OP_AGE, a=100).add(EventKind.OP_AGE, a=100),
    BASE,
    """
    [001] kvm_age_page: hva 64000 gfn 64 YOUNG
    [001] kvm_age_page: hva 64000 gfn 64 OLD
    """,
)("a page is young once")
case(
    lambda: long_guest().load(0),
    lambda guest: guest.add(EventKind.OP_UNMAP, a=100).add(EventKind.OP_UNMAP, a=5000),
    BASE,
    "[001] kvm_age_page: hva 64000 gfn 64 YOUNG",
)("an unmap tells of the page as well, outside memory nothing")


def main():
    for name in sorted(CASES):
        before, what, patch_set, _ = CASES[name]
        sys.stdout.write(f"{name}\n{log(what(before()), patch_set)}")


if __name__ == "__main__":
    main()
