"""The architecture alone: every access walks the guest's own tables as they are at that moment.

No shadow tables, no TLB and no host: faults, A and D follow the rules of the Intel SDM (volume 3A,
chapter 4), and operations of a host only change memory. What a guest sees under this engine is what
its tables say; where a capture disagrees, the real guest may have used a translation that it had
not yet flushed.

======  ==============================================================================
words   the words of a host, its four arrays, and how they grow
paging  one walk: levels, reserved bits, rights, A and D
loop    executes rows
host    one run, as :class:`refault.engines.base.Host`
======  ==============================================================================
"""

from __future__ import annotations

from refault.engines.base import Engine

ENGINE = Engine(
    name="walk",
    title="the architecture alone: a walk of the guest's own tables for every access",
    package=__name__,
    counters=(),
)
