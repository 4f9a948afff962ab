"""Conservation laws: what must hold between the numbers of any result, in production.

A result that breaks one is the simulator's fault, never the trace's, and none
of its numbers may reach a table. The laws between counters were checked
against all 688 results of the real code (release 2.6.34 and the variants of
the series). They hold at the end of an operation, so a run that stopped inside
one on a defect is held to the first group only: the defect is just that such
laws break. So is a run of another engine than shadow, whose counters these are.
"""

from __future__ import annotations

from collections.abc import Callable

from refault.errors import ConservationError
from refault.results import DISAGREEMENTS, SHADOW, RunResult

_Law = tuple[str, Callable[[RunResult], bool]]

_ALWAYS: tuple[_Law, ...] = (
    ("no semantics count is negative", lambda r: all(n >= 0 for n in r.semantics.values())),
    ("no counter is negative", lambda r: all(n >= 0 for n in r.counters.values())),
    ("no work count is negative", lambda r: all(n >= 0 for n in r.work.values())),
    ("witnessed <= accesses", lambda r: r.semantics["witnessed"] <= r.semantics["accesses"]),
    ("accesses <= operation_count", lambda r: r.semantics["accesses"] <= r.operation_count),
    (
        f"{' + '.join(DISAGREEMENTS)} <= witnessed",
        lambda r: r.disagreement_count <= r.semantics["witnessed"],
    ),
    (
        f"stale <= {' + '.join(DISAGREEMENTS)}",
        lambda r: r.semantics["stale"] <= r.disagreement_count,
    ),
)

_AT_THE_END: tuple[_Law, ...] = (
    ("pf_fixed <= exits", lambda r: r.counters["pf_fixed"] <= r.counters["exits"]),
    (
        "mmu_recycled <= mmu_shadow_zapped",
        lambda r: r.counters["mmu_recycled"] <= r.counters["mmu_shadow_zapped"],
    ),
    (
        "mmu_flooded <= mmu_shadow_zapped",
        lambda r: r.counters["mmu_flooded"] <= r.counters["mmu_shadow_zapped"],
    ),
    (
        "active <= mmu_cache_miss",
        lambda r: r.counters["active"] <= r.counters["mmu_cache_miss"],
    ),
    (
        "mmu_cache_miss - mmu_shadow_zapped <= active",
        lambda r: (
            r.counters["mmu_cache_miss"] - r.counters["mmu_shadow_zapped"] <= r.counters["active"]
        ),
    ),
    ("mmu_unsync <= active", lambda r: r.counters["mmu_unsync"] <= r.counters["active"]),
    (
        "remote_tlb_flush <= flush_calls",
        lambda r: r.counters["remote_tlb_flush"] <= r.counters["flush_calls"],
    ),
    (
        "accesses = tlb_hits + walks",
        lambda r: not r.work or r.semantics["accesses"] == r.work["tlb_hits"] + r.work["walks"],
    ),
    ("exits <= vm_exits", lambda r: not r.work or r.counters["exits"] <= r.work["vm_exits"]),
    (
        "insn_emulation_fail + mmio_exits <= insn_emulation",
        lambda r: (
            not r.work
            or r.work["insn_emulation_fail"] + r.work["mmio_exits"] <= r.work["insn_emulation"]
        ),
    ),
    ("tlb_flush <= hw_flush", lambda r: r.counters["tlb_flush"] <= r.counters["hw_flush"]),
)


def check(result: RunResult) -> None:
    """Check every law.

    Raises:
        ConservationError: naming each law that is broken, with its numbers.
    """
    has_counters = result.engine == SHADOW and result.stopped is None
    laws = (*_ALWAYS, *_AT_THE_END) if has_counters else _ALWAYS
    broken = [law for law, holds in laws if not holds(result)]
    if broken:
        raise ConservationError(
            f"trace {result.trace_digest[:12]}, variant {result.variant_digest[:12]}: "
            f"{'; '.join(f'{law} does not hold ({_numbers(law, result)})' for law in broken)}. "
            "This is a defect of the simulator: report it with the trace's digest"
        )


def _numbers(law: str, result: RunResult) -> str:
    """The values that a law names."""
    known = {"operation_count": result.operation_count, **result.work}
    known |= result.counters | result.semantics
    named = [word for word in law.split() if word in known]
    if not named:
        named = [name for name, number in known.items() if number < 0]
    return ", ".join(f"{name} {known[name]}" for name in named)
