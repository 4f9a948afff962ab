"""Benches of the golden vectors, as the command makes them of files."""

import contextlib
from pathlib import Path

from refault.audits import Level
from refault.cli.trace_files import as_trace
from refault.thread.measuring import Bench, Source

ROOT = Path(__file__).resolve().parents[2]
VECTORS = "tests/golden/vectors"


def _quiet(*_):
    pass


@contextlib.contextmanager
def benches(*names, shelf=None, progress=None, level="flush"):
    with contextlib.ExitStack() as opened:
        made = []
        for name in names:
            path = f"{VECTORS}/{name}.ops.jsonl.zst"
            trace = opened.enter_context(as_trace(ROOT / path))
            source = Source(path, trace.stem, trace)
            made.append(Bench(source, Level(level), shelf=shelf, progress=progress or _quiet))
        yield made
