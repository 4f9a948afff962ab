"""Engines: what executes the operations of a trace. To add one, add a package and its line here.

========  ==========================================================================
shadow    the model of KVM's shadow MMU of 2010, with every patch of the catalogue
walk      the architecture alone: every access by a walk of the guest's own tables
kernel    the MMU code of a Linux tree of the user's own, in a process behind walls
========  ==========================================================================

Nothing here loads a compiler: a host is imported when a replay opens it.
"""

from __future__ import annotations

from refault.engines import kernel, shadow, walk
from refault.engines.base import Engine
from refault.errors import UnknownEngine

ENGINES: dict[str, Engine] = {
    engine.name: engine for engine in (shadow.ENGINE, walk.ENGINE, kernel.ENGINE)
}


def get_engine(name: str) -> Engine:
    """The engine of that name; raises UnknownEngine."""
    try:
        return ENGINES[name]
    except KeyError:
        raise UnknownEngine(f"no engine {name!r}; there are {', '.join(ENGINES)}") from None
