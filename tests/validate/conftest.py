import dataclasses

import pytest

from refault.trace import TraceReader, TraceWriter
from tests.trace.files import WORKLOAD

EVENTS = 20_000


@pytest.fixture(scope="session")
def trace(tmp_path_factory):
    """The beginning of the workload, with two of its marks."""
    path = tmp_path_factory.mktemp("validate") / "guest.rft"
    with TraceReader(WORKLOAD) as reader:
        (block, *_) = reader.blocks()
        header = dataclasses.replace(reader.header, losses=("Made for a test.",))
        with TraceWriter(path, header, level=1) as writer:
            writer.append_block(block.part(0, EVENTS))
            writer.close()
    return path
