"""The make-up of a trace over its guest's time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.trace.format import EventKind
from refault.trace.makeup import SLICES, MakeUp
from tests.fixtures.api import block

KINDS = (EventKind.ACCESS, EventKind.CR, EventKind.MARK)


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5000)), min_size=1, max_size=40),
        min_size=1,
        max_size=12,
    ),
    st.booleans(),
)
def test_every_event_is_in_the_slice_of_its_time(blocks, in_instructions):
    makeup = MakeUp(in_instructions=in_instructions)
    for events in blocks:
        kinds, steps = zip(*events, strict=True)
        makeup.add(
            block(
                np.array(kinds, np.uint8), len(events), insns=np.array(steps, np.uint32)
            )
        )  # fmt: skip
    found = makeup.to_dict()

    expected, now = {}, 0
    for kind, step in (event for events in blocks for event in events):
        now += step if in_instructions else 1
        counts = expected.setdefault(kind.name, [0] * found["slices"])
        counts[now // found["width"]] += 1
    assert found["kinds"] == expected
    assert 1 <= found["slices"] <= SLICES
    # No wider than it must be: half as wide, the slices would not have sufficed.
    assert found["width"] == 1 or now >= SLICES * found["width"] // 2


def test_nothing_has_no_slices():
    found = MakeUp(in_instructions=True).to_dict()
    assert (found["slices"], found["kinds"]) == (0, {})


@pytest.mark.parametrize(("in_instructions", "unit"), [(True, "instructions"), (False, "events")])
def test_the_unit_is_told(in_instructions, unit):
    assert MakeUp(in_instructions=in_instructions).to_dict()["unit"] == unit
