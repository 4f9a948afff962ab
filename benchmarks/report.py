"""Where the benchmarks put their figures: ``results.json`` beside this file."""

import json
from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")


def record(name: str, *, ratio: float, what: str, ours: str, theirs: str) -> None:
    """Print a figure and keep it in RESULTS, in place of an older one of that name.

    ``ratio`` is ours to theirs, both measured in this run; ``ours`` and ``theirs`` are the two
    measured values with their units, ``what`` says in a sentence what was held against what.
    """
    figures = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    entry = {"ratio": float(f"{ratio:.3g}"), "what": what, "ours": ours, "theirs": theirs}
    figures[name] = entry
    text = json.dumps(dict(sorted(figures.items())), indent=2, ensure_ascii=False)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    print(f"{name}: {entry['ratio']} × ({ours} to {theirs}); {what}")
