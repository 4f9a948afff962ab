"""Logs read to their end."""

from pathlib import Path

from refault.trace.hostlog.opening import open_log

SAMPLES = Path(__file__).parent / "samples"


def read(path, known=None):
    """The facts and all events of a log."""
    with open_log(path, known=known) as log:
        events = list(log.events())
    return log.facts, events


def read_text(folder, text, name="log.txt"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path)
