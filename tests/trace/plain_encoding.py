"""The streams of a block as ``refault/trace/packing.py`` draws them, the plain way: by sorting."""

import numpy as np

from refault.trace.encoding import Streams
from refault.trace.format import EventKind, Flag
from refault.trace.packing import DELTA_KINDS, OFFSET_MASK, STREAM_TYPES, WIDE_STREAM_TYPES


def take_apart(block):
    """The streams of a block."""
    access = block.kind == EventKind.ACCESS
    has_offset = ~(access & ((block.flags & Flag.FETCH) != 0))
    offset = np.where(has_offset, block.a & OFFSET_MASK, 0)
    page = block.a - offset
    shift = np.where(access, block.b - block.a, 0)
    vcpu, flags, aux = (column.astype(np.int64) for column in (block.vcpu, block.flags, block.aux))
    looks = vcpu | flags << 8 | aux << 16
    places = {}
    tokens = []
    offsets = []
    values = []
    described = []  # the event each descriptor is taken from
    for kind in np.flatnonzero(np.bincount(block.kind, minlength=256)).tolist():
        events = np.flatnonzero(block.kind == kind)
        descriptor, first = _number(looks[events], page[events], shift[events])
        token = descriptor + 1
        token[first] = 0
        places[kind] = events
        tokens.append(token)
        described.append(events[first])
        offsets.append(offset[events[has_offset[events]]])
        if kind != EventKind.ACCESS:
            value = block.b[events]
            values.append(np.diff(value, prepend=0) if kind in DELTA_KINDS else value)
    rows = _join(described)
    wide = max(map(len, described), default=0) > 0xFFFE
    streams = {
        "kind": block.kind,
        "token": _join(tokens),
        "offset": _join(offsets),
        **_narrow(block.insns),
        "vcpu": block.vcpu[rows],
        "flags": block.flags[rows],
        "aux": block.aux[rows],
        "page": np.diff(page[rows], prepend=0),
        "shift": shift[rows],
        "value": _join(values),
    }
    types = WIDE_STREAM_TYPES if wide else STREAM_TYPES
    columns = {name: stream.astype(types[name]) for name, stream in streams.items()}
    return Streams(block.first_event_index, places, columns)


def _number(*keys):
    """Number the distinct rows of ``keys`` in order of first appearance.

    Answers each row's number, and for each number the row it appears in first.
    """
    order = np.lexsort(keys)
    differs = np.ones(len(order), bool)
    differs[1:] = False
    for key in keys:
        ordered = key[order]
        differs[1:] |= ordered[1:] != ordered[:-1]
    first = order[differs]  # lexsort is stable: the first of equal rows is the earliest
    by_appearance = np.argsort(first)
    rank = np.empty(len(first), np.int64)
    rank[by_appearance] = np.arange(len(first))
    number = np.empty(len(order), np.int64)
    number[order] = rank[np.cumsum(differs) - 1]
    return number, first[by_appearance]


def _narrow(insns):
    """Each number in the narrowest stream it fits, all ones in the narrower ones before."""
    wide16 = insns[insns >= 0xFF]
    return {
        "insns8": np.minimum(insns, 0xFF),
        "insns16": np.minimum(wide16, 0xFFFF),
        "insns32": wide16[wide16 >= 0xFFFF],
    }


def _join(parts):
    return np.concatenate([np.empty(0, np.int64), *parts])
