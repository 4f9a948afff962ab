"""Blocks packed by threads: the same bytes as without, in order, and no half file."""

import io
import threading

import numpy as np
import pytest

from refault.errors import TraceCorrupt, TraceError
from refault.trace import Block, TraceReader, TraceWriter
from tests.trace.files import WORKLOAD
from tests.trace.strategies import CAPTURE


def written(blocks, header, packers, *, to=None, **given):
    file = io.BytesIO() if to is None else to
    with TraceWriter(file, header, level=1, packers=packers, **given) as writer:
        for block in blocks:
            writer.append_block(block)
    return None if to is not None else file.getvalue()


def strangers(count):
    """Accesses of which each has a page of its own: such a block is written as halves."""
    pages = np.random.default_rng(1).permutation(count).astype(np.int64) * 4096
    small = [np.full(count, value, np.uint8) for value in (1, 0, 0, 3)]
    return Block(0, *small, np.ones(count, np.uint32), pages * 3, pages)


@pytest.mark.parametrize("block_events", [1 << 16, 99_991])
def test_threads_do_not_change_a_byte(block_events):
    with TraceReader(WORKLOAD) as trace:
        blocks = list(trace.blocks())
        header = trace.header
    alone, two, five = (
        written(blocks, header, packers, block_events=block_events) for packers in (1, 2, 5)
    )
    assert alone == two == five


def test_halves_of_a_block_come_in_order():
    block = strangers(700_000)
    assert written([block], CAPTURE, 1) == written([block], CAPTURE, 2)


@pytest.mark.parametrize("packers", [1, 2])
def test_a_broken_rule_is_refused_and_leaves_no_file_and_no_thread(packers, tmp_path):
    before = threading.active_count()
    path = tmp_path / "out.rft"
    good, wrong = strangers(1200), strangers(100)
    wrong.vcpu[:] = 63
    with pytest.raises(TraceCorrupt, match="the header has"):
        written([good, wrong], CAPTURE, packers, block_events=100, to=path)
    assert not list(tmp_path.iterdir())
    assert threading.active_count() == before


def test_a_full_disk_ends_it():
    class Full(io.BytesIO):
        def write(self, data):
            if self.tell() > 4000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    blocks = [strangers(5000)] * 10
    with pytest.raises(TraceError, match="No space left"):
        written(blocks, CAPTURE, 2, block_events=5000, to=Full())
