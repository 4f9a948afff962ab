"""Audits know ranges, dirty logs and registers set from outside."""

import pytest

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
