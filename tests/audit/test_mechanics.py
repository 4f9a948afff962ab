"""How an audit runs: beside the run, the same everywhere, and as closely as it is asked to."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from refault.audits import AuditReport, Level, audit_key
from refault.engines.audit.host import Host
from refault.errors import ReplayCancelled, ReplayRefused, ReplayTooLarge, ResultError
from refault.replay.budget import Budget
from refault.replay.lowering.rows import operations_of
from refault.replay.session import replay
from refault.trace import TraceReader
from tests.audit.running import VECTORS, audited, of_operations, result_stream, told, variants
from tests.audit.test_variants import TRACES, vector
from tests.engines import hosts

SHARED = VECTORS / "direct-sp-shared.ops.jsonl"
WORKLOAD = TRACES / "linux61-workload-1cpu.rft"


@pytest.mark.parametrize("level", ["sampled", "flush", "every"])
@pytest.mark.parametrize("name", ["s12_notifier", "s19c_zap_and_shrink", "m13_switch_1cpu_20k"])
def test_an_audited_run_is_the_run(name, level):
    """Every word of the host, its findings and its digests are what they are without an audit."""
    (variant,) = variants("p3")
    with TraceReader(result_stream(vector(name))) as reader:
        plain = hosts.Host(variant, reader.header)
        checked = Host(variant, reader.header, Budget(), Level(level, every=100, seed=7))
        for rows, count, _ in operations_of(reader.header, reader.blocks(), {}):
            plain.execute(rows, count)
            checked.execute(rows, count)
        checked.finish()
    steps = "steps_left"  # of the last operation: what looks may count them
    mine, theirs = checked.state(), plain.state()
    mine.pop(steps, None), theirs.pop(steps, None)
    assert mine == theirs
    assert checked.notes.pack() == plain.notes.pack()
    assert checked.page_digest() == plain.page_digest()


def test_interpreted_kernels_report_the_same_bytes():
    texts = ["tests/audit/vectors/write-to-readonly-overwrite.ops.jsonl", "base,tlb=1", "p3"]
    there = subprocess.run(
        [sys.executable, "-m", "tests.audit.test_mechanics", *texts],
        env={**os.environ, "REFAULT_INTERPRETED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [report.digest for report in audited(Path(texts[0]), *texts[1:])]
    assert there.stdout.split() == here


def test_reports_do_not_depend_on_what_runs_beside_or_on_threads():
    alone = audited(WORKLOAD, "base", level="flush")
    beside = audited(WORKLOAD, "p3", "base", "rel35", level="flush", threads=2)
    assert beside[1].to_bytes() == alone[0].to_bytes()


def test_samples_are_drawn_by_the_seed_and_found_again():
    def sweeps(seed):
        level = Level("sampled", every=20_000, seed=seed)
        return audited(WORKLOAD, "base", level=level)[0]

    first, again, other = sweeps(1), sweeps(1), sweeps(2)
    assert first.to_bytes() == again.to_bytes()
    assert first.level == "sampled-20000-1"
    assert other.level != first.level
    expected = first.operation_count / 20_000
    assert expected / 2 < first.sweeps < 2 * expected


def test_a_sampled_audit_sees_the_end_of_a_short_trace():
    report = audited(VECTORS / "lpages-drift.ops.jsonl", "base", level="sampled")[0]
    assert [each.check for each in report.broken] == ["F-C1"]


@pytest.mark.parametrize("level", ["sampled", "flush", "every"])
def test_a_table_changed_behind_the_mmu_accuses_nobody(tmp_path, level):
    """What the host pokes into a shadowed table no kernel can know; what follows is no finding."""
    boot = 0x8000_0033 | 0x1_0000
    lines = [
        ["vm", 1, 0],
        ["mem", 0, 0, 4096],
        *(["poke", at, value] for at, value in ((0x1000, 0x2027), (0x2000, 0x3027))),
        *(["poke", at, value] for at, value in ((0x3000, 0x4027), (0x4000, 0x64067))),
        ["boot", 0, boot, 0x1000, 0x20, 0x500],
        ["ld", 0, 0, 1],
        ["poke", 0x4000, 0x65067],
        ["cr3", 0, 0x1000],
        ["ld", 0, 0, 1],
    ]
    assert told(audited(of_operations(lines, tmp_path), "base", level=level)[0]) == []


def test_a_stale_entry_is_lawful_until_the_vcpu_flushes(tmp_path):
    """The guest writes an entry out of sync and reads on: hardware may use the old one too."""
    boot = 0x8000_0033 | 0x1_0000
    tables = {0x1000: 0x2027, 0x2000: 0x3027, 0x3000: 0x4027, 0x4000: 0x64067, 0x4008: 0x4067}
    lines = [
        ["vm", 1, 0],
        ["mem", 0, 0, 4096],
        *(["poke", at, value] for at, value in tables.items()),
        ["boot", 0, boot, 0x1000, 0x20, 0x500],
        ["ld", 0, 0, 1],
        ["ld", 0, 0x1000, 1],
        ["st", 0, 0x1000, 1, 0x65067],
        ["ld", 0, 0, 1],
        ["invlpg", 0, 0],
        ["ld", 0, 0, 1],
    ]
    assert told(audited(of_operations(lines, tmp_path), "base", "p3", "rel35")[0]) == []


def test_a_report_is_a_document_with_a_key():
    report = audited(SHARED, "base")[0]
    again = AuditReport.from_dict(json.loads(json.dumps(report.to_dict())))
    assert again == report
    assert again.to_bytes() == report.to_bytes()
    key = audit_key(report)
    assert (key.kind, key.level, key.variant_digest) == ("audit", "every", report.variant_digest)
    with pytest.raises(ResultError, match="version"):
        AuditReport.from_dict(report.to_dict() | {"version": 9})


def test_outcomes_of_other_engines_are_held_to_the_guests_tables():
    """The architecture alone never does what its own tables forbid."""
    for name in ("s17_permissions", "s13_pge_toggle", "m13_switch_1cpu_20k"):
        report = audited(vector(name), "walk")[0]
        assert report.broken == ()
        assert report.accesses > 50
        assert report.sweeps == 0


def test_an_audit_can_be_cancelled_and_stays_within_its_memory():
    with pytest.raises(ReplayCancelled):
        audited(WORKLOAD, "base", level="every", is_cancelled=lambda: True)
    with pytest.raises(ReplayTooLarge):
        audited(WORKLOAD, "base", level="flush", memory_bytes=1 << 20)


def test_a_trace_that_cannot_be_replayed_is_refused(tmp_path):
    lines = [["vm", 1, 0], ["mem", 0, 0, 16], ["mem", 1, 8, 16]]
    with pytest.raises(ReplayRefused, match="slot"):
        audited(of_operations(lines, tmp_path), "base")


def test_an_audit_counts_what_a_replay_counts():
    (variant,) = variants("base")
    report = audited(WORKLOAD, "base", level="flush")[0]
    result = replay(WORKLOAD, [variant])[0]
    assert report.operation_count == result.operation_count
    assert report.trace_digest == result.trace_digest
    assert report.simulator_digest == result.simulator_digest


if __name__ == "__main__":
    vector_path, *texts = sys.argv[1:]
    digests = [each.digest for each in audited(Path(vector_path), *texts)]
    sys.stdout.write("\n".join(digests))
