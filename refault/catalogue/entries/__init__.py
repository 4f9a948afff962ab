"""The patches of the catalogue, one file each.

A file of this folder defines one ``PATCH``; nothing else names it. What it does
must be a knob in :mod:`refault.catalogue.knobs` that the simulator reads.
``docs/howto/add-a-variant.md`` goes through adding one.
"""

from __future__ import annotations

import importlib
import pkgutil

from refault.catalogue.model import Patch


def _patches() -> tuple[Patch, ...]:
    """Every file's patch, by the names of the files."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").PATCH for name in names)


PATCHES: tuple[Patch, ...] = _patches()
