"""A guest of a few instructions on a disk of its own: no kernel, no busybox, less than a second."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from refault.capture import Wanted, capture, judge
from refault.trace import TraceReader, TraceWriter
from tests.cli.running import run_here

FAULTS = 20
REMAPPED = 100


def made(name, folder):
    """A disk whose first sector is the guest of that name."""
    if not all(map(shutil.which, ("as", "ld"))):
        pytest.skip("no assembler and linker (binutils)")
    path, code = folder / f"{name}.img", folder / f"{name}.o"
    source = Path(__file__).with_name(f"{name}.s")
    subprocess.run(["as", "--32", "-o", code, source], check=True)
    how = ("-m", "elf_i386", "--oformat", "binary", "-Ttext", "0x7c00")
    subprocess.run(["ld", *how, "-o", path, code], check=True)
    path.write_bytes(path.read_bytes().ljust(1 << 20, b"\0"))
    return path


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    return made("disk_guest", tmp_path_factory.mktemp("disk"))


def test_a_disk_is_booted_recorded_between_its_marks_and_left_as_it_was(qemu, disk, tmp_path):
    before = hashlib.sha256(disk.read_bytes()).hexdigest()
    asked = Wanted(name="disk", out=tmp_path, disk=disk, memory_mib=32, start="mark", timeout=60)
    captured = capture(asked)
    path, verified = judge(captured)
    assert hashlib.sha256(disk.read_bytes()).hexdigest() == before
    assert path == tmp_path / "disk.rft"
    assert verified.agreed == verified.asked > 2 * FAULTS
    assert verified.unexplained_stores == 0
    summary = captured.summary
    assert summary.header.guest_mode == "32bit"
    assert summary.header.workload_marks.keys() == {"1", "2"}
    counts = summary.events_by_kind
    assert (counts["PAGE_FAULT"], counts["INVLPG"], counts["TABLE_SNAPSHOT"]) == (FAULTS, FAULTS, 2)
    # Each entry is cleared, and set by the handler.
    assert counts["TABLE_STORE"] == 2 * FAULTS
    with TraceReader(path) as reader:
        (block,) = reader.blocks()
    faults = block.kind == 6
    assert set(block.a[faults].tolist()) == {0x20_0000}
    assert set(block.b[faults].tolist()) == {2}  # a write by the kernel, nothing mapped


def test_the_command_says_what_it_recorded_and_that_it_is_verified(
    qemu, disk, tmp_path, monkeypatch
):
    arguments = ("--disk", disk, "--memory", 32, "--start", "mark", "--out", tmp_path)
    answer = run_here(monkeypatch, tmp_path, "capture", *arguments)
    assert answer.returncode == 0, answer.stderr
    assert "disk_guest-1cpu.rft: " in answer.stdout
    assert "witnesses agree" in answer.stdout


def test_a_trace_that_disagrees_is_kept_under_a_name_that_says_so(qemu, disk, tmp_path):
    asked = Wanted(name="disk", out=tmp_path, disk=disk, memory_mib=32, start="mark", timeout=60)
    captured = capture(asked)
    kept = captured.path
    # Without its stores to tables a trace cannot explain what the guest reached.
    with TraceReader(kept) as reader:
        header, (block,) = reader.header, [each.copied() for each in reader.blocks()]
    with TraceWriter(kept, header) as writer:
        stays = block.kind != 2
        writer.append_block(block._replace(**{
            name: getattr(block, name)[stays]
            for name in ("kind", "vcpu", "flags", "aux", "insns", "a", "b")
        }))  # fmt: skip
    path, verified = judge(captured)
    assert path == kept
    assert path.name == "disk.unverified.rft"
    assert not verified.is_good
    assert "under the bar" in verified.complaint
    assert not (tmp_path / "disk.rft").exists()


def test_a_frame_that_a_freed_pae_root_still_points_at_is_what_it_is_used_for(qemu, tmp_path):
    disk = made("disk_guest_pae", tmp_path)
    asked = Wanted(name="pae", out=tmp_path, disk=disk, memory_mib=32, start="mark", timeout=60)
    captured = capture(asked)
    _, verified = judge(captured)
    assert captured.summary.header.guest_mode == "pae"
    assert verified.is_good, verified.first
    assert verified.stores_outside == 0
    writes = next(each for each in verified.witnesses if each.name == "write")
    assert writes.agreed == writes.asked > REMAPPED
    with TraceReader(tmp_path / "pae.rft") as reader:
        (block,) = reader.blocks()
    # The directory is dropped once, tracked anew as a leaf table, and stays one.
    of_frame = (block.a >> 12 == 0x11) & (block.kind != 1)
    kinds = block.kind[of_frame]
    assert kinds.tolist().count(7) == 2
    assert kinds.tolist().count(9) == 1
    assert block.aux[of_frame & (block.kind == 7)].tolist() == [2, 1]


def test_code_is_fetched_where_its_segment_puts_it(qemu, tmp_path):
    """RIP is an offset into the code segment, whose base is 0x1000 here."""
    disk = made("disk_guest_segment", tmp_path)
    asked = Wanted(name="segment", out=tmp_path, disk=disk, memory_mib=32, start="mark", timeout=60)
    captured = capture(asked)
    path, verified = judge(captured)
    assert verified.is_good, verified.first
    with TraceReader(path) as reader:
        (block,) = reader.blocks()
    fetches = (block.kind == 1) & (block.flags & 2 != 0)
    assert set(block.a[fetches].tolist()) == {0x7000}
    assert len(block.a[fetches]) >= 1
