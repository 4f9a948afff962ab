"""Audits of vectors and captures, as tests want them."""

import io
import json
import tempfile
from pathlib import Path

from refault.audits import Level
from refault.catalogue import patch_set_from_text, resolve
from refault.engines.audit.auditing import audit
from refault.trace import SUFFIX
from refault.trace.importers.vectors import import_vector

VECTORS = Path(__file__).parent / "vectors"


def variants(*texts):
    """The variants of these texts."""
    return [resolve(patch_set_from_text(text)) for text in texts]


def audited(path, *texts, level="every", **more):
    """The reports of a trace, or of a vector that is made one, in the order of the variants."""
    level = level if isinstance(level, Level) else Level(level)
    if path.suffix == SUFFIX:
        return audit(path, variants(*texts), level, **more)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / f"case{SUFFIX}"
        import_vector(path, trace, level=1)
        return audit(trace, variants(*texts), level, **more)


def of_operations(lines, folder):
    """A trace of these operations, each a list as a line of a vector has it."""
    path = folder / "own.ops.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def told(report):
    """Check and operation of each finding."""
    return [(each.check, each.operation_index) for each in report.broken]


def result_stream(path):
    """A vector as a trace in memory."""
    stream = io.BytesIO()
    import_vector(path, stream, level=1)
    stream.seek(0)
    return stream
