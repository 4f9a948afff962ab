"""Dirty logs: one may hold more than was written, which costs; what it lacks is lost."""

import dataclasses
import json

import pytest

from refault.catalogue import patch_set_from_text, resolve
from refault.compare import Column, compare
from refault.diverge.diverging import diverge
from refault.diverge.search import Job
from refault.facts import Facts, facts_of
from refault.replay.session import Session, replay
from refault.results import LOGS, RunResult
from refault.trace.importers.vectors import import_vector

LEAF = 0x67
#: The guest fills an entry and invalidates it; 2.6.35 maps it at once, so its log has one more.
LINES = [
    ["vm", 1, 0],
    ["mem", 0, 0, 4096, 1],
    ["poke", 0x1000, 0x2027],
    ["poke", 0x2000, 0x3027],
    ["poke", 0x3000, 0x4027],
    ["poke", 0x4000, 0x64000 | LEAF],
    ["poke", 0x4008, 0x4000 | LEAF],
    ["boot", 0, 0x8001_0033, 0x1000, 0x20, 0x500],
    ["log", 0],
    ["ld", 0, 0, 1],
    ["st", 0, 0x1010, 1, 0x66000 | LEAF],
    ["invlpg", 0, 0x2000],
    ["st", 0, 0, 1, 7],
    ["get_dirty_log", 0],
    ["st", 0, 0, 1, 8],
    ["get_dirty_log", 0],
    ["get_dirty_log", 0],
]


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    path = folder / "logs.ops.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    import_vector(path, folder / "logs.rft", level=1)
    return folder / "logs.rft"


@pytest.fixture(scope="module")
def variants():
    return [resolve(patch_set_from_text(text)) for text in ("base", "rel35", "p6", "walk")]


@pytest.fixture(scope="module")
def results(trace, variants):
    return replay(trace, variants)


def compared(*results):
    columns = [Column(str(n), str(n), None, result) for n, result in enumerate(results)]
    return compare(columns, trace_name="logs").columns[1]


def test_a_result_tells_what_its_logs_held(results):
    base, later, _, walk = results
    assert dict(zip(LOGS, (3, 3, 3, 0), strict=True)) == base.logs
    assert later.logs == base.logs | {"dirty_logged": 4}
    assert walk.logs == {}  # it has no host
    assert base.outcome_digest != later.outcome_digest
    assert base.lawful_digest == later.lawful_digest
    for result in (base, walk):
        assert RunResult.from_dict(result.to_dict()) == result
        assert Facts.from_bytes(facts_of(result).to_bytes()) == facts_of(result)


def test_more_pages_than_were_written_are_a_cost(results):
    base, later, same, _ = results
    column = compared(base, later)
    assert column.verdict.value == "regression"
    assert "its dirty logs hold 4 pages, 1 more than base, where 3 were written" in column.reason
    assert column.is_same_to_guest
    back = compared(later, base)
    assert back.verdict.value == "improvement"
    assert "its dirty logs hold 3 pages, 1 fewer than base" in back.reason
    assert compared(base, same).verdict.value == "identical"


def test_only_the_log_is_dearer(results):
    base, later, *_ = results
    told = dataclasses.replace(
        base,
        variant_digest=later.variant_digest,
        outcome_digest=later.outcome_digest,
        logs=later.logs,
    )
    column = compared(base, told)
    assert column.verdict.value == "regression"
    assert column.reason.endswith("nothing else changed notably")
    assert compared(told, base).verdict.value == "improvement"


def test_another_outcome_is_still_seen(results):
    base, later, *_ = results
    other = dataclasses.replace(later, lawful_digest="0" * 64)
    assert compared(base, other).verdict.value == "guest-visible-change"
    before = dataclasses.replace(later, lawful_digest=None, logs={})  # of an older engine
    assert compared(base, before).verdict.value == "guest-visible-change"


def test_variants_do_not_diverge_by_pages_that_nobody_wrote(trace, variants):
    report = diverge(Job(trace, variants[:2]))
    assert report.divergences == ()
    assert report.outcome_digests[0] != report.outcome_digests[1]


def test_a_resumed_replay_knows_what_was_written(trace, variants, results, tmp_path):
    path = tmp_path / "half.snapshot"
    with Session(trace, variants[:2]) as session:
        session.advance(to_event=15)  # between two readings
        with path.open("wb") as file:
            session.snapshot().write(file)
    assert replay(trace, variants[:2], resume_from=path) == results[:2]
