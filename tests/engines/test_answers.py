"""What operations that are no accesses answer is counted, shown, and part of the outcomes."""

import pytest

from refault.catalogue import PatchSet, resolve, variant_from_golden_name
from refault.compare import Column, compare, to_dict, to_text
from refault.replay.session import replay
from refault.results import ANSWERS, RunResult
from refault.trace import EventKind
from tests.engines.guests import PS, A, D, Guest, P, U, W

BASE = resolve(PatchSet())
NONPAGING = {"cr0": 0x33, "cr4": 0, "efer": 0}


def small_guest():
    guest = Guest(pages=1024)
    for table in (1, 2, 3):
        guest.table(table, {0: (table + 1) << 12 | P | W | U})
    guest.table(4, {0: 100 << 12 | P | W | U}).boot(0x1000)
    return guest.load(0)


@pytest.mark.parametrize(
    ("kind", "values", "name", "count"),
    [
        (EventKind.OP_UNMAP, (100, 101), "unmap_found", 1),
        (EventKind.OP_AGE, (100, 100, 101), "age_young", 1),
        (EventKind.OP_SHRINK, (1,), "shrink_reported", 3),
        (EventKind.OP_UNPROTECT, (0,), "unprotect_found", 0),
        (EventKind.OP_CR4, (0, 0x20, 1 << 40), "gp_refused", 2),
    ],
)
def test_each_answer_is_counted_and_changes_the_outcomes(kind, values, name, count):
    guest = small_guest()
    before = replay(guest.trace(), [BASE])[0]
    for value in values:
        guest.add(kind, a=value)
    result = replay(guest.trace(), [BASE])[0]
    assert result.answers == {**dict.fromkeys(ANSWERS, 0), name: count}
    assert result.outcome_digest != before.outcome_digest
    assert RunResult.from_dict(result.to_dict()) == result


def test_a_host_that_is_answered_otherwise_is_told_so():
    """A slot that begins amid 2 MiB: until 2.6.35 a notifier looks in another large list."""
    guest = Guest(pages=256, host_level=2)
    guest.add(EventKind.OP_MEM, flags=2, aux=1, a=256, b=2048)
    guest.table(1, {0: 2 << 12 | P | W | U}).table(2, {0: 3 << 12 | P | W | U})
    guest.table(3, {0: 512 << 12 | P | W | U | A | D | PS}).boot(0x1000).load(0)
    guest.add(EventKind.OP_UNMAP, a=600)
    variants = [variant_from_golden_name(name) for name in ("base", "rel35")]
    results = replay(guest.trace(), variants)
    assert [result.answers["unmap_found"] for result in results] == [0, 1]
    columns = [
        Column(label=v.name, variant_name=v.name, golden_name=v.golden_name, result=result)
        for v, result in zip(variants, results, strict=True)
    ]
    compared = compare(columns, trace_name="a slot")
    words = " ".join(to_text([compared], title="", command="").split())
    assert "the guest or the host saw something else than under base" in words
    assert "unmap_found" in str(to_dict(compared))


def test_answers_that_are_the_same_everywhere_are_shown_all_the_same():
    guest = small_guest().add(EventKind.OP_CR4, a=1 << 40)
    result = replay(guest.trace(), [BASE])[0]
    column = Column(label="base", variant_name="base", golden_name="base", result=result)
    assert "1 gp_refused" in to_text([compare([column], trace_name="t")], title="", command="")


def test_a_result_from_before_answers_were_counted_can_be_read_and_keeps_its_bytes():
    body = replay(small_guest().trace(), [BASE])[0].to_dict()
    del body["answers"]
    assert RunResult.from_dict(body).to_dict() == body


def test_a_livelock_names_the_entry_that_refuses():
    """Write-protecting a slot takes W from a link too, where its page also holds a large leaf."""
    guest = Guest(pages=4096, host_level=2)
    guest.table(1, {0: 2 << 12 | P | W | U}).table(2, {0: 3 << 12 | P | W | U})
    guest.table(3, {0: 4 << 12 | P | W | U | A, 1: 1024 << 12 | P | W | U | A | D | PS})
    guest.table(4, {0: 100 << 12 | P | W | U | A | D}).boot(0x1000)
    guest.store(0).store(1 << 21).add(EventKind.OP_DIRTYLOG).store(0)
    finding = replay(guest.trace(), [BASE])[0].findings[0]
    assert finding.kind == "livelock"
    assert "the link at level 2 of its shadow grants u only" in finding.message
    assert finding.got is None


def test_a_large_leaf_taken_for_a_table_is_called_that():
    """A table is guarded inside 2 MiB that a guest without paging has mapped at once, read-only."""
    guest = Guest(2, pages=4096, host_level=2).poke(600 << 12, 601 << 12 | P | W | U)
    guest.boot(0, **NONPAGING).store(0x200000).add(EventKind.OP_DIRTYLOG)
    guest.boot(600 << 12, vcpu=1).load(0, vcpu=1).store(0x201000)
    stopped = replay(guest.trace(), [BASE])[0].stopped
    assert stopped.kind == "large-as-table"
    assert "its page is taken for one" in stopped.message
