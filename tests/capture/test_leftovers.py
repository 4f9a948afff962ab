"""A capture that is killed cannot tidy up: the next one of its name does."""

import io
import os
import subprocess
import sys
import time

import pytest

from refault.capture.capturing import _scratch
from refault.capture.leftovers import claimed, salvage, sweep_scratch
from refault.errors import CaptureError
from refault.trace import MemorySlot, TraceHeader, TraceReader, TraceWriter
from refault.verify import verify

HEADER = TraceHeader(
    content="capture",
    name="guest.rft.recording",
    guest_mode="long5",
    vcpu_count=1,
    slots=(MemorySlot(slot=0, base_gfn=0, page_count=256),),
    origin="captured",
    losses=("some",),
)
CR, MSR, ACCESS = 3, 4, 1
# The registers of a guest with four levels, then accesses.
ROWS = [(MSR, 0, 32, 0, 0xC0000080, 0x500), (CR, 0, 32, 4, 0x20, 0), (CR, 0, 32, 0, 0x80000001, 0)]


def killed_writer(folder, events):
    """Leaves the recording of a capture that was killed after so many events."""
    file = io.BytesIO()
    writer = TraceWriter(file, HEADER, level=1, block_events=64)
    writer.append_rows([*ROWS, *[(ACCESS, 0, 0, 3, n * 4096, n * 4096) for n in range(events)]])
    path = folder / "guest.rft.recording.partial"
    path.write_bytes(file.getvalue() + b"BLCK")
    return path


def test_whole_blocks_of_a_killed_recording_become_a_trace(tmp_path):
    leftover = killed_writer(tmp_path, 150)
    [told] = salvage(tmp_path, "guest")
    assert not leftover.exists()
    assert told.path == tmp_path / "guest.salvaged.rft"
    assert "left guest.rft.recording.partial: its 128 events are kept as " in str(told)
    with TraceReader(told.path) as reader:
        assert sum(block.event_count for block in reader.blocks()) == 128
    assert reader.header.guest_mode == "long"
    assert reader.header.provenance["ended"] == "killed"
    assert "the capture was killed" in reader.header.losses[-1]
    # Another one does not overwrite it.
    killed_writer(tmp_path, 150)
    [again] = salvage(tmp_path, "guest")
    assert again.path.name == "guest.salvaged-2.rft"
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "guest.salvaged-2.rft",
        "guest.salvaged.rft",
    ]


@pytest.mark.parametrize("content", [b"", b"\x89RFT", b"no trace at all"])
def test_what_cannot_be_read_is_removed_and_told(tmp_path, content):
    (tmp_path / "guest.rft.recording.partial").write_bytes(content)
    [told] = salvage(tmp_path, "guest")
    assert told.path is None
    assert "nothing of it can be read; removed" in str(told)
    assert not list(tmp_path.iterdir())


def test_a_recording_without_a_whole_block_is_removed(tmp_path):
    killed_writer(tmp_path, 10)
    [told] = salvage(tmp_path, "guest")
    assert told.path is None
    assert not list(tmp_path.iterdir())


def test_a_recording_that_another_capture_writes_is_left_alone(tmp_path):
    leftover = killed_writer(tmp_path, 150)
    with claimed(leftover), pytest.raises(CaptureError, match="being written by another capture"):
        salvage(tmp_path, "guest")
    assert leftover.exists()
    assert not salvage(tmp_path, "other")


def test_scratch_folders_of_killed_captures_go_and_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    old = time.time() - 1000
    gone, young = tmp_path / "refault-capture-gone", tmp_path / "refault-capture-young"
    for folder in (gone, young):
        folder.mkdir()
        (folder / "console.log").write_text("x")
    os.utime(gone, (old, old))
    with _scratch() as used:
        assert not gone.exists()
        os.utime(used, (old, old))
        sweep_scratch()
        assert used.is_dir()
        assert young.is_dir()
    assert not used.exists()


def test_the_next_capture_keeps_what_a_killed_one_recorded(kernel, busybox, qemu, tmp_path):
    command = [
        *(sys.executable, "-m", "refault.cli.main", "capture", "--workload", "fork"),
        *("--start", "boot", "--kernel", str(kernel), "--busybox", str(busybox)),
        *("--qemu", qemu.path, "--name", "guest", "--out", str(tmp_path), "--level", "3"),
    ]
    partial = tmp_path / "guest.rft.recording.partial"
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (
        partial.exists() and partial.stat().st_size > 50_000
    ):
        time.sleep(0.05)
    first.kill()
    first.wait()
    assert partial.exists()
    again = subprocess.run(
        [*command, "--max-events", "200000"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert "an earlier capture was killed and left guest.rft.recording.partial" in again.stderr
    found = sorted(each.name for each in tmp_path.iterdir())
    assert found == ["guest.rft", "guest.salvaged.rft"]
    assert verify(tmp_path / "guest.salvaged.rft").is_good
