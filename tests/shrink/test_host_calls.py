"""Ranges, dirty logs and registers set from outside in what shrinking writes."""

import json

from refault.diverge.position import Row
from refault.diverge.text import operation_text
from refault.replay import operations as op
from refault.shrink.trials import rows_of
from refault.shrink.vector import lines_of_trace
from refault.shrink.words import operation_lines
from refault.trace import TraceReader
from tests.engines.guests import Guest
from tests.engines.host_calls import get_log, log, log_off, sregs, unmap_range


def guest():
    made = Guest(2, pages=64).boot(0x1000)
    return log_off(get_log(log(sregs(unmap_range(made, 3, 9), vcpu=0))))


def test_they_are_lines_of_a_vector_and_words(tmp_path):
    trace = tmp_path / "calls.rft"
    trace.write_bytes(guest().bytes())
    lines = [json.loads(line) for line in lines_of_trace(trace, rows_of)]
    assert lines[3:] == [
        ["unmap_range", 3, 9],
        ["sregs", 0, 0x80010033, 0x1000, 0x20, 0x500],
        ["log", 0],
        ["get_dirty_log", 0],
        ["log_off", 0],
    ]
    with TraceReader(trace) as reader:
        told = [line.split(maxsplit=1)[1] for line in operation_lines(rows_of(reader))]
    assert told[3:] == [
        "unmap_range gfn 0x3, 9 pages",
        "sregs vCPU 0 cr3 0x1000",
        "log",
        "get_dirty_log",
        "log_off",
    ]


def test_a_divergence_names_them():
    def row(kind, vcpu=0, a=0, b=0):
        values = {"kind": kind, "vcpu": vcpu, "user": 0, "a": a, "b": b}
        return Row(**{name: values.get(name, 0) for name in Row._fields})

    assert operation_text(row(op.UNMAP_RANGE, a=3, b=9)) == "unmap_range, gfn 0x3, 9 pages"
    assert operation_text(row(op.SREGS, vcpu=1)) == "sregs, vCPU 1"
