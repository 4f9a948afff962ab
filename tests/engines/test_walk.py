"""The walk engine: the oracle of the paging rules agrees with it, without any known difference."""

import numpy as np
import pytest

from refault.catalogue import PatchSet, resolve, variant_from_golden_name
from refault.compare import Column, Verdict, check, compare, to_text
from refault.engines import get_engine
from refault.engines.base import Watch
from refault.engines.walk import paging
from refault.errors import InvalidParameter, ReplayCancelled, ReplayRefused, WrongBase
from refault.replay import records as rec
from refault.replay.budget import Budget
from refault.replay.compile.jit import door
from refault.replay.lowering.rows import operations_of
from refault.replay.session import replay
from refault.results import RunResult
from refault.trace import TraceHeader
from tests.engines.guests import A, D, Guest, P, U, W
from tests.engines.judge import Judge
from tests.engines.test_architecture import CASES

WALK = resolve(PatchSet("walk"))
BASE = resolve(PatchSet())


@door
def _read_all(m, gpas, out):
    for i in range(len(gpas)):
        out[i] = paging.read_word(m, gpas[i])


class Architecture(Judge):
    """The judge of the shadow engine, over the other one: no kernel, so no defect of one."""

    def __init__(self, script):
        super().__init__(script, WALK, kernel="none")

    def _host(self):
        header = TraceHeader("operations", "judged", "long", self.script.vcpu_count)
        return get_engine("walk").open(WALK, header, Budget(), Watch(record_all=True))

    def _compare_probes(self, host, segment, ops):
        """Its own walk is what is judged; it has no other."""

    def _words_at(self, host, gpas):
        found = np.empty(len(gpas), np.int64)
        _read_all(host.machine, gpas, found)
        return found


@pytest.mark.parametrize("name", CASES)
def test_every_access_is_the_architectures(name):
    write, *arguments = CASES[name]
    verdict = Architecture(write(*arguments)).shadow()
    assert verdict.judged > 0
    assert not verdict.difference_count, verdict.differences


def guest():
    made = Guest(pages=1024)
    for table in (1, 2, 3):
        made.table(table, {0: (table + 1) << 12 | P | W | U})
    made.table(4, {i: (100 + i) << 12 | P | W | U for i in range(64)})
    made.boot(0x1000)
    for page in range(64):
        made.load(page << 12).store(page << 12, page + 1)
    return made


def test_a_result_says_which_engine_made_it_and_counts_nothing():
    (result,) = replay(guest().trace(), [WALK])
    assert result.engine == "walk"
    assert result.simulator_digest == get_engine("walk").digest
    assert (result.counters, result.work, result.page_digest) == ({}, {}, "none")
    assert result.semantics["accesses"] == 128
    check(result)
    assert RunResult.from_dict(result.to_dict()) == result
    assert RunResult.from_bytes(result.to_bytes()).digest == result.digest


def test_engines_side_by_side_give_the_bytes_they_give_alone():
    together = replay(guest().trace(), [BASE, WALK], threads=2)
    alone = [replay(guest().trace(), [variant])[0] for variant in (BASE, WALK)]
    assert [result.to_bytes() for result in together] == [result.to_bytes() for result in alone]


def test_a_comparison_of_engines_leaves_blank_what_one_does_not_count():
    results = replay(guest().trace(), [BASE, WALK])
    columns = [Column(name, name, None, result) for name, result in zip("ab", results, strict=True)]
    found = compare(columns)
    assert found.columns[1].verdict is Verdict.WITNESSED
    assert found.columns[1].is_same_to_guest
    assert "every outcome equals the base's" in found.columns[1].reason
    assert {name: len(digest) for name, digest in found.simulators.items()} == {
        "shadow": 64,
        "walk": 64,
    }
    exits = next(row for row in found.counters if row.name == "exits")
    assert exits.values[0] > 0
    assert exits.values[1] is exits.deltas[1] is exits.percents[1] is None


def test_a_page_that_is_mapped_anew_is_seen_at_once():
    """Nothing stands between the guest and its tables: no TLB, no shadow page out of sync."""
    made = guest().poke(0x4000, 200 << 12 | P | W | U | A | D).load(0)
    host = get_engine("walk").open(WALK, made.header(), Budget(), Watch(record_all=True))
    for ops, count, _ in operations_of(made.header(), iter([made.block()]), {}):
        host.execute(ops, count)
    records = np.concatenate(host.notes.findings.raw)
    assert records[0, rec.ADDRESS] == 100 << 12
    assert records[-1, rec.ADDRESS] == 200 << 12


@pytest.mark.parametrize(
    ("patch_set", "error"),
    [
        (PatchSet("walk", ("zap-account",)), WrongBase),
        (PatchSet("walk", (), BASE.parameters.from_dict({"page_limit": 64})), InvalidParameter),
    ],
)
def test_it_has_no_patches_and_no_parameters(patch_set, error):
    with pytest.raises(error, match="not KVM"):
        resolve(patch_set)


def test_it_has_no_event_log():
    with pytest.raises(ReplayRefused, match="tracepoints"):
        replay(guest().trace(), [WALK], events=[].append)


def test_a_host_that_is_aborted_executes_nothing():
    made = guest()
    host = get_engine("walk").open(WALK, made.header(), Budget())
    host.abort()
    ops, count, _ = next(operations_of(made.header(), iter([made.block()]), {}))
    with pytest.raises(ReplayCancelled):
        host.execute(ops, count)
    assert host.operation_count == 0


def test_beside_an_engine_that_counts_nothing_the_counters_of_others_are_shown():
    variants = [WALK, BASE, variant_from_golden_name("series")]
    results = replay(guest().trace(), variants)
    columns = [Column(str(i), str(i), None, result) for i, result in enumerate(results)]
    found = compare(columns)
    moved = [row for row in found.counters if not row.is_same]
    assert all(row.values[0] is row.deltas[1] is None for row in moved)
    text = to_text([found], title="t", command="refault replay t.rft")
    assert "in every column that counts them" in text
