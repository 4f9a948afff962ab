"""The patches of the catalogue, one file each.

A file of this folder defines one ``PATCH``; nothing else names it. Its effect
must be a knob in :mod:`refault.catalogue.knobs` that the simulator reads.
``docs/howto/add-a-variant.md`` describes how to add one.
"""

from __future__ import annotations

import importlib
import pkgutil

from refault.catalogue.model import Patch


def _patches() -> tuple[Patch, ...]:
    """Every file's patch, in the order of the files' names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").PATCH for name in names)


PATCHES: tuple[Patch, ...] = _patches()
