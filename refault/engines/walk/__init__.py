"""The architecture alone: every access by a walk of the guest's own tables, as the tables are now.

No shadow tables, no TLB and no host: faults, A and D by the rules of the Intel SDM (volume 3A,
chapter 4), and nothing that a host does has an effect. What a guest sees under this engine is what
its tables say, so a capture that disagrees with it used a translation it had not yet flushed.

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
