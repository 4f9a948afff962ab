"""Captures a guest of one's own: runs it under QEMU and records what it does with its memory.

:func:`capture` is the door in, and :func:`judge` the way out. It needs a QEMU with plugins, a C
compiler and, for a guest that it builds itself, a kernel image and a static busybox; each missing
part is an error that says how to install it.
``plugin/`` is loaded into QEMU and therefore GPL-2.0-or-later; ``inside/`` runs in the
guest.
"""

from refault.capture.capturing import UNVERIFIED, Captured, Wanted, capture
from refault.capture.judging import judge
from refault.capture.leftovers import Salvaged
from refault.capture.marker import marker
from refault.capture.recording import Progress
from refault.capture.workloads import WORKLOADS

__all__ = [
    "UNVERIFIED",
    "WORKLOADS",
    "Captured",
    "Progress",
    "Salvaged",
    "Wanted",
    "capture",
    "judge",
    "marker",
]
