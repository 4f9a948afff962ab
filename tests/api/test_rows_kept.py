"""Verdicts of a row are kept by what it is judged by, and by nothing less."""

import dataclasses

from refault.compare import Evidence, Scale, Threshold, judge
from refault.compare.costs import Costs
from refault.compare.thresholds import Limit
from refault.facts import facts_of
from services.api.comparisons import rows
from tests.builders import seed_series_columns


def evidence(name="linux61-boot-1cpu"):
    return tuple(
        Evidence(facts_of(column.result), "done", None, None)
        for column in seed_series_columns(name)
    )


def test_an_equal_row_is_judged_once_and_as_before():
    first = rows.row_of(evidence(), Threshold(), Scale())
    assert first.judgements == judge(list(evidence()), Threshold(), Scale())
    assert rows.row_of(evidence(), Threshold(), Scale()) is first


def test_whatever_a_verdict_rests_on_makes_another_row():
    plain = evidence()
    first = rows.row_of(plain, Threshold(), Scale())
    limits = Threshold(limits={"mmu_pte_updated": Limit(permille=1)})
    other_limits = Threshold(limits={"mmu_pte_updated": Limit(permille=2)})
    others = [
        (plain, limits, Scale()),
        (plain, other_limits, Scale()),
        (plain, dataclasses.replace(Threshold(), permille=500), Scale()),
        (plain, Threshold(), Scale(Costs(exit=1))),
        ((*plain[:-1], plain[-1]._replace(alarm="other bytes")), Threshold(), Scale()),
        ((*plain[:-1], plain[-1]._replace(facts=None, state="failed")), Threshold(), Scale()),
        (tuple(reversed(plain)), Threshold(), Scale()),
    ]
    for asked in others:
        found = rows.row_of(*asked)
        assert found is not first
        assert found.judgements == judge(list(asked[0]), *asked[1:])


def test_no_more_cells_are_kept_than_there_is_room(monkeypatch):
    plain = evidence()
    monkeypatch.setattr(rows, "CELLS_KEPT", 3 * len(plain))
    for number in range(10):
        rows.row_of(plain, dataclasses.replace(Threshold(), operations=number + 1), Scale())
    assert sum(len(row.judgements) for row in rows._kept.values()) <= 3 * len(plain)
    assert rows._count == sum(len(row.judgements) for row in rows._kept.values())
