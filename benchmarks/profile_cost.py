"""What a timeline and an attribution cost: whole replays with and without, one after the other.

``python benchmarks/profile_cost.py``. Figures, in one run, processor time of the whole replay
(decoded, lowered, executed, documents made), the captures of the demo under the base:

===================  ======================================================================
profile_vs_plain     with both documents / without, the worse capture, one variant
profile_of_four      the same under four variants, which share one decode
===================  ======================================================================
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from report import record

from refault.catalogue import Variant, variant_from_golden_name
from refault.profile import gathering
from refault.replay import session

ROOT = Path(__file__).resolve().parents[1]
CAPTURES = ("linux61-boot-1cpu", "linux61-workload-1cpu")
FIGURES = {"profile_vs_plain": ("base",), "profile_of_four": ("base", "p2", "p3", "series")}
RUNS = 11


def seconds(replay: Callable[..., object], trace: Path, variants: list[Variant]) -> float:
    """Processor time of one replay, of all its threads."""
    begun = time.process_time()
    replay(trace, variants)
    return time.process_time() - begun


def main() -> None:
    """Measure both figures on both captures, and record them."""
    for figure, names in FIGURES.items():
        variants = [variant_from_golden_name(name) for name in names]
        ratios: list[float] = []
        plain_ms: list[float] = []
        for name in CAPTURES:
            trace = ROOT / f"demo/traces/{name}.rft"
            seconds(session.replay, trace, variants)  # compiled
            seconds(gathering.replay, trace, variants)
            pairs = [
                (
                    seconds(session.replay, trace, variants),
                    seconds(gathering.replay, trace, variants),
                )
                for _ in range(RUNS)
            ]
            plain, with_documents = map(statistics.median, zip(*pairs, strict=True))
            ratios.append(with_documents / plain)
            plain_ms.append(plain * 1000)
            print(f"{figure}, {name}: {ratios[-1]:.3f} of {plain:.3f} s")
        record(
            figure,
            ratio=max(ratios),
            what=f"time of a replay under {len(names)} with timeline and attribution / without",
            ours={"ratios": ratios},
            theirs={"plain_ms": plain_ms},
        )


if __name__ == "__main__":
    main()
