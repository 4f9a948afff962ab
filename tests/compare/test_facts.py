"""A batch is judged by facts, a trace by results: they cannot come to different verdicts."""

import dataclasses

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.compare import Evidence, Threshold, compare, judge
from refault.errors import ResultError
from refault.facts import Facts, facts_of
from refault.results import DISAGREEMENTS, GUEST_VISIBLE_KINDS
from tests.builders import SIZES, make_column, make_finding, make_result, seed_series_columns

KINDS = (*GUEST_VISIBLE_KINDS, "use-after-free", "endless-walk", "assertion")
findings = st.builds(
    lambda kind, place: make_finding(kind=kind, operation_index=place),
    st.sampled_from(KINDS),
    st.integers(0, 9),
)


@st.composite
def results(draw):
    """Results that differ in everything a verdict may look at."""
    found = tuple(draw(st.lists(findings, max_size=3)))
    return make_result(
        counters={
            name: draw(st.sampled_from((0, 10_000, 10_001, 20_000)))
            for name in ("exits", "synced", "lpages", "parent_marks")
        },
        semantics={
            name: draw(st.sampled_from((0, 0, 1, 2)))
            for name in draw(st.sampled_from(((), DISAGREEMENTS)))
        },
        outcomes=draw(st.sampled_from(("as the real guest", "otherwise"))),
        pages=draw(st.sampled_from(("pages", "other pages"))),
        findings=found,
        finding_count=len(found) + draw(st.sampled_from((0, 3))),
        stopped=draw(st.none() | findings),
    )


@given(st.lists(results(), min_size=1, max_size=4))
def test_stored_facts_give_the_verdicts_and_reasons_of_the_results(found):
    columns = [
        make_column(f"p{place}", dataclasses.replace(result, variant_digest=f"{place:064x}"))
        for place, result in enumerate(found)
    ]
    compared = compare(columns).columns

    stored = [Facts.from_bytes(facts_of(result).to_bytes()) for result in found]
    judged = judge([Evidence(facts, "done", None, None) for facts in stored], Threshold())

    assert judged == [(column.verdict, column.reason, column.balance) for column in compared]


@pytest.mark.parametrize("trace", SIZES)
def test_facts_are_less_than_a_fifth_of_a_result(trace):
    for column in seed_series_columns(trace):
        assert len(facts_of(column.result).to_bytes()) * 5 < len(str(column.result.to_dict()))


def test_facts_packed_by_other_rules_are_none():
    rules, *fields = msgpack.unpackb(facts_of(make_result()).to_bytes())

    assert Facts.from_bytes(msgpack.packb([rules, *fields])) == facts_of(make_result())
    assert Facts.from_bytes(msgpack.packb([b"past", *fields, "a field more"])) is None


WHOLE = facts_of(make_result()).to_bytes()


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x01", b"\x90", WHOLE[:-1], WHOLE + b"\0"])
def test_damaged_facts_are_refused(data):
    with pytest.raises(ResultError, match="not what this program packs"):
        Facts.from_bytes(data)
