import io
from pathlib import Path

from refault.capture.capturing import Prepared
from refault.capture.describing import header_of
from refault.capture.qemu import Qemu
from refault.capture.recording import Recording
from refault.capture.request import Machine
from refault.capture.stream import RecordStream
from refault.trace import TraceReader, TraceWriter


def described(tmp_path, *, marks=(), ended="end", **given):
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(b"")
    machine = Machine(kernel=None, initrd=None, disk=Path("/d.img"), **given)
    prepared = Prepared(Qemu("/q", "10\x1b", 4, plugin), machine, None, None, None)
    stream = RecordStream(writer=None)  # nothing comes
    stream.marks = dict.fromkeys(marks, 1)
    return header_of("t", prepared, Recording(ended, (), stream, {"records": 7}, "", 1.0))


def written(header):
    file = io.BytesIO()
    with TraceWriter(file, header):
        pass
    file.seek(0)
    with TraceReader(file) as reader:
        return reader.header


def test_a_guest_that_makes_every_mark_still_has_a_header(tmp_path):
    header = described(tmp_path, marks=range(1 << 16))
    assert written(header) == header
    assert header.workload_marks["16"].startswith("processes that end")


def test_why_a_recording_ended_early_is_a_loss(tmp_path):
    whole, cut = described(tmp_path), described(tmp_path, ended="timeout")
    assert len(cut.losses) == len(whole.losses) + 1
    assert "time limit" in cut.losses[-1]
    assert len(described(tmp_path, vcpus=2).losses) == len(whole.losses) + 1


def test_what_others_say_is_made_printable(tmp_path):
    header = described(tmp_path)
    assert header.provenance["qemu"] == "10\\x1b"
    assert header.provenance["plugin_records"] == 7
    assert written(header) == header
