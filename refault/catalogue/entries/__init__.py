"""The patches of the catalogue, one file for each part of the MMU they touch.

Another patch is an entry in one of these files, or a file of its own named
here. What it does must be a knob in :mod:`refault.catalogue.knobs` that the
simulator reads.
"""

from __future__ import annotations

from refault.catalogue.entries import (
    clean_up,
    control_registers,
    marking,
    synchronising,
    zapping,
)
from refault.catalogue.model import Patch

PATCHES: tuple[Patch, ...] = (
    *clean_up.PATCHES,
    *zapping.PATCHES,
    *marking.PATCHES,
    *control_registers.PATCHES,
    *synchronising.PATCHES,
)
