"""The model of KVM's shadow MMU of 2010: the bases and every patch of the catalogue.

======  ==============================================================================
arch    the processor: guest memory, accesses, TLB
kvm     functions under KVM's names: faults, zapping, out-of-sync pages, registers
state   the words of a host, its seven arrays, the set of its pages
loop    executes rows: the only hot loop
host    one variant's host, as :class:`refault.engines.base.Host`
======  ==============================================================================
"""

from __future__ import annotations

from refault.engines.base import Engine
from refault.replay.source import KNOB_VALUES
from refault.results import COUNTERS

ENGINE = Engine(
    name="shadow",
    title="the model of KVM's shadow MMU of 2010",
    package=__name__,
    counters=COUNTERS,
    compiled_with=(KNOB_VALUES,),
)
