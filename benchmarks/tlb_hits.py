"""hit_vs_c_tlb: a guest that stays in its TLB, against a bare loop over a TLB in C."""

from kit import generator, yardsticks
from kit.runs import MILLION, Replay, after_boot, lowered, part, side_by_side, timed
from report import record

EVENTS = 4 * MILLION


def main() -> None:
    """Hold counts together, then times."""
    capture = generator.hit_heavy(EVENTS)
    ops = lowered(capture.header, iter(capture.blocks()))
    first = after_boot(ops)
    rest = part(ops, first, len(ops.kind))
    with yardsticks.built("tlb.c") as library:
        ours = Replay("base,tlb=1", capture.header, ops, first)
        ours.rest()
        work, seen = ours.host.work(), ours.host.notes.semantics()
        accesses, hits, misses, wrong, _ = yardsticks.tlb_loop(library, rest)
        assert (accesses, hits, misses) == (EVENTS, work["tlb_hits"], work["walks"])
        assert seen["witnessed"] == EVENTS
        assert wrong == seen["wrong_address"] == 0
        share = hits / EVENTS
        assert share >= 0.98
        mine, theirs = side_by_side(
            lambda: Replay("base,tlb=1", capture.header, ops, first).rest(),
            lambda: timed(lambda: yardsticks.tlb_loop(library, rest)),
        )
    record(
        "hit_vs_c_tlb",
        ratio=theirs / mine,
        what=f"simulator with a TLB / bare 4-way TLB loop in C (gcc -O3), {share:.2%} hits",
        ours=f"{EVENTS / mine / MILLION:.1f} M events/s",
        theirs=f"{EVENTS / theirs / MILLION:.1f} M events/s",
    )


if __name__ == "__main__":
    main()
