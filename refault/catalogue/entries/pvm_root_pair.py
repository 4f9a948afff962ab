"""PVM's pair of roots: user and kernel tables of one process kept together.

What is simulated: under PTI the two top-level tables of a process differ in bit 12 of CR3. A load
of the other one keeps the loaded root, with its reference. The next switch back finds it: if
nothing below it is out of sync, it is loaded without an exit, with the flush that every load of CR3
is. Otherwise the host does it, as on the base. Any other load of CR3, a reset or a reload drops
both.

Invariants: F-S4 counts the kept root as a reference. F-U4 (nothing out of sync is reachable after a
sync) holds for a switch without exit because it is its condition. The hypercall's flag that asks
for a flush is not in captures; since nothing is out of sync, there is nothing that it would change.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="pvm-root-pair",
    title="PVM: user and kernel roots kept together (LOAD_PGTBL)",
    author="after virt-pvm/linux issues 13 and 14",
    date="2024-10-29",
    summary=(
        "Of a guest with page-table isolation both roots of a process are kept. Switching between "
        "them costs no exit and no load of a root while nothing below the other one is out of sync."
    ),
    claim="System calls and interrupts of a guest with PTI leave the MMU alone.",
    objection="",
    fate="In PVM's own kernel tree (pull request 15); no released kernel has this.",
    knobs={"root_pair": values.ROOT_PAIR_KEPT},
    requires=(),
    source=(
        "https://github.com/virt-pvm/linux/issues/13 and 14, "
        "https://github.com/virt-pvm/linux/pull/15"
    ),
    short="pvm-pair",
    reconstruction=(
        "PVM knows the pair from the hypercall; here it is two values of CR3 that differ in bit 12 "
        "alone. That a switch to a root with something out of sync below it exits is ours."
    ),
)
