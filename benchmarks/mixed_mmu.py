"""mixed_vs_c_mmu: table stores, INVLPG and CR3 switches, against a minimal shadow MMU in C."""

from kit import generator, yardsticks
from kit.runs import MILLION, Replay, after_boot, lowered, part, side_by_side, timed
from report import record

from refault.replay import operations as op

EVENTS = 2 * MILLION


def main() -> None:
    """Hold counts together, then times."""
    capture = generator.mixed(EVENTS)
    ops = lowered(capture.header, iter(capture.blocks()))
    first = after_boot(ops)
    before, rest = part(ops, 0, first), part(ops, first, len(ops.kind))
    events = len(rest.kind)
    stores = int((rest.cls == op.WITNESS_TABLE_STORE).sum())
    with yardsticks.built("shadow_mmu.c") as library:

        def theirs() -> float:
            library.mmu_reset()
            yardsticks.mmu_loop(library, before)
            return timed(lambda: yardsticks.mmu_loop(library, rest))

        ours = Replay("base,tlb=1", capture.header, ops, first)
        ours.rest()
        seen, counters = ours.host.notes.semantics(), ours.host.counters()
        library.mmu_reset()
        yardsticks.mmu_loop(library, before)
        accesses, _, faults, wrong, _, _ = yardsticks.mmu_loop(library, rest)
        assert accesses == seen["accesses"] == seen["witnessed"]
        assert faults == counters["pf_guest"]
        assert wrong == ours.host.notes.findings.count == 0
        mine, yardstick = side_by_side(
            lambda: Replay("base,tlb=1", capture.header, ops, first).rest(), theirs
        )
    record(
        "mixed_vs_c_mmu",
        ratio=yardstick / mine,
        what=f"simulator / minimal shadow MMU in C (gcc -O3), {stores / events:.1%} table stores",
        ours=f"{events / mine / MILLION:.1f} M events/s",
        theirs=f"{events / yardstick / MILLION:.1f} M events/s",
    )


if __name__ == "__main__":
    main()
