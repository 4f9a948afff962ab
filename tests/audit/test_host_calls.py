"""Audits know ranges, dirty logs and registers set from outside."""

from pathlib import Path

import numpy as np
import pytest

from refault.catalogue import PatchSet, resolve
from refault.replay.session import replay
from refault.synth import Order, make
from refault.trace import Block, EventKind, TraceReader, TraceWriter
from refault.verify import verify
from tests.audit.running import audited, of_operations

TABLES = [
    ["vm", 1, 0],
    ["mem", 0, 0, 4096, 2],
    ["poke", 0x1000, 0x2067],
    ["poke", 0x2000, 0x3067],
    *[["poke", 0x3000 + 8 * i, i << 21 | 0xE7] for i in range(4)],
    ["boot", 0, 0x80010033, 0x1000, 0x20, 0x500],
]
CALLS = [
    ["st", 0, 0x400000, 1, 5],
    ["unmap_range", 0x200, 0x400],
    ["st", 0, 0x400008, 1, 5],
    ["log", 0],
    ["st", 0, 0x400010, 1, 5],
    ["get_dirty_log", 0],
    ["ld", 0, 0x400010, 1],
    ["get_dirty_log", 0],
    ["log_off", 0],
    ["st", 0, 0x400018, 1, 5],
    ["sregs", 0, 0x80010033, 0x1000, 0x20, 0xD00],
    ["ld", 0, 0x400010, 1],
    ["sregs", 0, 0x33, 0, 0, 0],
    ["ld", 0, 0x400010, 0],
]


@pytest.mark.parametrize("texts", [("base", "v2.6.35.6", "walk"), ("base,tlb=1",)])
def test_a_host_that_does_what_was_asked_is_sound(tmp_path, texts):
    path = of_operations([*TABLES, *CALLS], tmp_path)
    for report in audited(path, *texts):
        assert report.stopped is None
        # The gauge of large pages drifts with every notifier: known, and the same for one frame.
        assert [(each.check, each.exception) for each in report.broken] in ([], [("F-C1", "F-X6")])


def test_a_frame_that_a_range_leaves_mapped_is_found(tmp_path):
    """Up to 2.6.35 a large page of a slot whose base is not aligned is looked for elsewhere."""
    lines = [
        ["vm", 1, 0],
        ["mem", 0, 0, 512],
        ["mem", 1, 768, 2048, 2],
        ["poke", 0x1000, 0x2067],
        ["poke", 0x2000, 0x3067],
        ["poke", 0x3000, 2 << 21 | 0xE7],
        ["boot", 0, 0x80010033, 0x1000, 0x20, 0x500],
        ["ld", 0, 0, 1],
        ["unmap_range", 1024, 1],
    ]
    (report,) = audited(of_operations(lines, tmp_path), "base")
    assert [each.check for each in report.broken][:1] == ["F-H1"]
    assert report.broken[0].operation == "unmap_range gfn 0x400, 1 pages"


# --- the same calls inside whole guests -----------------------------------------------------------

CORPUS = Path(__file__).parents[2] / "demo" / "corpus"
MIGRATION = [
    EventKind.OP_LOG,
    EventKind.OP_DIRTYLOG,
    *[EventKind.OP_GET_DIRTY_LOG] * 3,
    EventKind.OP_UNMAP_RANGE,
    EventKind.OP_GET_DIRTY_LOG,
    EventKind.OP_LOG_OFF,
]


def migrated(source, target, *, every):
    """The capture with a host that migrates it: a call before every ``every``th load of CR3."""
    with TraceReader(source) as reader, TraceWriter(target, reader.header, level=1) as writer:
        seen = called = 0
        for block in reader.blocks():
            loads = np.flatnonzero((block.kind == EventKind.CR) & (block.aux == 3))
            begin = 0
            for at in loads.tolist():
                seen += 1
                if seen % every:
                    continue
                writer.append_block(Block(0, *(column[begin:at] for column in block[1:])))
                begin = at
                kind = MIGRATION[called % len(MIGRATION)]
                a, b = (0x1000, 0x800) if kind == EventKind.OP_UNMAP_RANGE else (0, 0)
                writer.append(kind=kind, a=a, b=b)
                called += 1
            writer.append_block(Block(0, *(column[begin:] for column in block[1:])))
    return called


@pytest.fixture(scope="module", params=["sqlite-1cpu", "fork-pae-1cpu", "synth"])
def migration(request, tmp_path_factory):
    """A guest under migration, and the same without; of the synthetic one there is only one."""
    folder = tmp_path_factory.mktemp("migration")
    target = folder / "migrated.rft"
    if request.param == "synth":
        make(Order("migration", events=60_000, seed=8), target, level=1)
        return target, None
    source = CORPUS / f"{request.param}.rft"
    with TraceReader(source) as reader:
        loads = sum(
            int(np.count_nonzero((block.kind == EventKind.CR) & (block.aux == 3)))
            for block in reader.blocks()
        )
    assert migrated(source, target, every=max(1, loads // 40)) >= len(MIGRATION)
    return target, source


def test_verify_sees_the_guest_alone(migration):
    target, source = migration
    found = verify(target)
    assert found.is_good
    assert found.agreed == found.asked > 1000
    if source is not None:
        assert found.asked == verify(source).asked


def test_a_migrated_guest_is_replayed_and_sees_what_it_saw_before(migration):
    target, source = migration
    walk, base = replay(target, [resolve(PatchSet("walk")), resolve(PatchSet())])
    for result in (walk, base):
        assert result.stopped is None
        assert not result.finding_count
        assert "unsupported" not in " ".join(result.skipped)
    assert walk.semantics == base.semantics
    if source is not None:
        assert base.semantics == replay(source, [resolve(PatchSet())])[0].semantics


def test_the_audit_of_a_migrated_guest_names_nothing_but_what_is_known(migration):
    target, _ = migration
    for report in audited(target, "base", level="flush"):
        assert report.stopped is None
        assert all(each.exception for each in report.broken), report.broken
