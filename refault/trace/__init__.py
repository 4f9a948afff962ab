"""Traces: the file format, its reader, writer and validator."""

from refault.trace.contents import Block, MemorySlot, TraceHeader, TraceSummary
from refault.trace.format import KIND_NAMES, SUFFIX, EventKind, Flag
from refault.trace.frames import ReadBack
from refault.trace.packed import Rooms
from refault.trace.reader import TraceReader, trace_digest
from refault.trace.validator import TraceValidator
from refault.trace.writer import TraceWriter

__all__ = [
    "KIND_NAMES",
    "SUFFIX",
    "Block",
    "EventKind",
    "Flag",
    "MemorySlot",
    "ReadBack",
    "Rooms",
    "TraceHeader",
    "TraceReader",
    "TraceSummary",
    "TraceValidator",
    "TraceWriter",
    "trace_digest",
]
