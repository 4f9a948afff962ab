"""PVM's prefault after an injected #PF.

What is simulated: a #PF that the host injects is remembered with its address, its access and CR3,
the latest one of each vCPU. Captures do not show the guest's return from its handler, so it is
taken to come right before the vCPU's next access to that page under the same CR3. If that access
misses, the page is mapped as the fault wanted it, which is no exit: the return went through PVM's
switcher.

Invariants: none changes. The mapping is made by the page fault's own code, from what the guest's
tables say then. It is not made where the tables still refuse the access, nor for device memory, nor
for a write to a guarded table. A #PF that never reached the host (bypass=1) is not remembered.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="pvm-prefault",
    title="PVM: prefault the new entry when the guest returns from an injected #PF",
    author="after the authors of PVM (SOSP 2023)",
    date="2023-10",
    summary=(
        "After a #PF was injected, the guest's handler fills the entry and returns, and the access "
        "faults once more only to be mapped. The host maps it at the return instead."
    ),
    claim="One exit less for every page that the guest maps on demand.",
    objection="",
    fate="In PVM's own kernel tree; no released kernel has this.",
    knobs={"fault_return": values.FAULT_RETURN_PREFAULTS},
    requires=(),
    source=(
        "PVM: Efficient Shadow Paging for Deploying Secure Containers in Cloud-native Environment "
        "(doi 10.1145/3600006.3613158); https://github.com/virt-pvm/linux/issues/16 and 27"
    ),
    short="pvm-prefault",
    reconstruction="When the guest returns is a guess: right before its next access to that page.",
)
