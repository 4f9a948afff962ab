"""What audits cost: the run alone against the run that is checked, on the captures of the demo.

``python benchmarks/audit_speed.py``. Figures, each the share of the speed that is left, in one run,
processor time, execution only, from a fresh host (variant rel35):

=========================  ==============================================================
checked_vs_unchecked       level flush: every access, and the host at flush points
sampled_vs_unchecked       level sampled: the host about every 65,536 operations
=========================  ==============================================================
"""

import statistics
import time
from pathlib import Path

from kit.runs import MILLION, RUNS, lowered, part
from report import record

from refault.audits import Level
from refault.catalogue import Variant, patch_set_from_text, resolve
from refault.engines.audit.host import Host as Audited
from refault.engines.base import Watch
from refault.engines.shadow.host import Host
from refault.replay import operations as op
from refault.replay.budget import Budget
from refault.replay.lowering.rows import ROWS
from refault.replay.session import warm_up
from refault.trace import TraceHeader, TraceReader

ROOT = Path(__file__).resolve().parents[1]
CAPTURES = ("linux61-boot-1cpu", "linux61-workload-1cpu")
LEVELS = {"checked_vs_unchecked": "flush", "sampled_vs_unchecked": "sampled"}


def opened(variant: Variant, header: TraceHeader, level: str | None) -> Host:
    """A host after the rows before the trace, audited or not."""
    host: Host
    if level is None:
        host = Host(variant, header, Budget(), Watch())
    else:
        host = Audited(variant, header, Budget(), Level(level))
    host.begin()
    return host


def seconds(host: Host, pieces: list[op.Operations]) -> float:
    """Processor time that the rows take, the last sweep included."""
    begun = time.thread_time()
    for piece in pieces:
        host.execute(piece, len(piece.kind))
    if isinstance(host, Audited):
        host.finish()
    return time.thread_time() - begun


def main() -> None:
    """Measure both levels on both captures, and record the figures."""
    warm_up()
    variant = resolve(patch_set_from_text("rel35"))
    shares: dict[str, list[float]] = {figure: [] for figure in LEVELS}
    rates: dict[str, list[float]] = {figure: [] for figure in ("", *LEVELS)}
    for name in CAPTURES:
        with TraceReader(ROOT / f"demo/traces/{name}.rft") as trace:
            header, ops = trace.header, lowered(trace.header, trace.blocks())
        count = len(ops.kind)
        pieces = [part(ops, at, min(count, at + ROWS)) for at in range(0, count, ROWS)]
        seconds(opened(variant, header, "flush"), pieces[:1])  # compiled
        times: dict[str, list[float]] = {figure: [] for figure in ("", *LEVELS)}
        for _ in range(RUNS):
            for figure, taken in times.items():
                taken.append(seconds(opened(variant, header, LEVELS.get(figure)), pieces))
        for figure, taken in times.items():
            rates[figure].append(count / statistics.median(taken) / MILLION)
        for figure, level in LEVELS.items():
            shares[figure].append(rates[figure][-1] / rates[""][-1])
            print(f"{name}, {level}: {shares[figure][-1]:.2f} of {rates[''][-1]:.1f} M/s")
    for figure, level in LEVELS.items():
        record(
            figure,
            ratio=min(shares[figure]),
            what=f"operations/s at audit level {level} / without audit, the slower capture",
            ours={"M_per_s": rates[figure]},
            theirs={"M_per_s": rates[""]},
        )


if __name__ == "__main__":
    main()
