"""Writing down a figure: ``record`` merges it into ``benchmarks/results.json``."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
DIGITS = 4


def record(name: str, *, ratio: float, what: str, ours: Any, theirs: Any) -> None:
    """Keep one ratio under ``name``, with what was divided by what, and print it."""
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    entry = {"ratio": ratio, "what": what, "ours": ours, "theirs": theirs}
    known[name] = {key: _rounded(value) for key, value in entry.items()}
    text = json.dumps(known, indent=2, sort_keys=True, ensure_ascii=False)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    print(f"{name}: {known[name]['ratio']} ({what})")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
