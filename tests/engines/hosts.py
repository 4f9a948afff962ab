"""A host of the shadow engine, as tests want one."""

from refault.engines.base import Watch
from refault.engines.shadow import host
from refault.replay.budget import Budget


def Host(variant, header, *, budget=None, **watch):  # noqa: N802
    """One with these things noted besides (:class:`refault.engines.base.Watch`)."""
    return host.Host(variant, header, budget or Budget(), Watch(**watch))
