"""How events are split into streams: the numbers of descriptors, whatever collides."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.trace import TraceReader, encoding
from refault.trace.contents import join_blocks
from refault.trace.encoding import first_alike
from tests.trace import plain_encoding

FEW = st.sampled_from([0, 1, -1, 1 << 62, -(1 << 63), (1 << 63) - 1, 4096])
ROWS = st.lists(st.tuples(FEW, FEW, FEW), max_size=200)


def plainly(rows):
    """The earliest equal row of each, by a dictionary."""
    seen = {}
    return [seen.setdefault(row, place) for place, row in enumerate(rows)]


def columns_of(rows):
    return tuple(np.array([row[place] for row in rows], np.int64) for place in range(3))


@given(ROWS)
def test_each_row_finds_the_earliest_that_equals_it(rows):
    assert first_alike(*columns_of(rows)).tolist() == plainly(rows)


@pytest.mark.parametrize("bits", [0, 1, 3, 7])
def test_collisions_change_nothing(monkeypatch, bits):
    """With a table of a few slots four passes settle few rows, and the rest is sorted."""
    monkeypatch.setattr(encoding, "MIN_TABLE_BITS", bits)
    monkeypatch.setattr(encoding, "MAX_TABLE_BITS", bits)
    dice = np.random.default_rng(bits)
    rows = list(map(tuple, dice.integers(-40, 40, (5000, 3)).tolist()))
    assert first_alike(*columns_of(rows)).tolist() == plainly(rows)


def test_many_distinct_rows():
    dice = np.random.default_rng(7)
    rows = list(map(tuple, dice.integers(-(1 << 63), (1 << 63) - 1, (50_000, 3)).tolist()))
    rows += rows[::-1]
    assert first_alike(*columns_of(rows)).tolist() == plainly(rows)


@pytest.mark.parametrize("trace", ["demo/traces/linux61-workload-1cpu", "demo/corpus/many-4cpu"])
def test_streams_are_those_of_the_plain_way(trace):
    with TraceReader(Path(f"{trace}.rft")) as reader:
        events = join_blocks(list(reader.blocks()))
    plain, fast = plain_encoding.take_apart(events), encoding.take_apart(events)
    assert (plain.kinds, list(plain.columns)) == (fast.kinds, list(fast.columns))
    for name, column in plain.columns.items():
        assert column.dtype == fast.columns[name].dtype, name
        assert np.array_equal(column, fast.columns[name]), name
