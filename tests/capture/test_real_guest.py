import signal
import threading
import time

import pytest

from refault.capture import Wanted, capture, judge
from refault.errors import CaptureError
from refault.trace import TraceReader


def wanted(kernel, busybox, out, **given):
    return Wanted(name="guest", out=out, kernel=kernel, busybox=busybox, level=3, **given)


def test_a_guest_is_recorded_from_power_on_to_its_end(kernel, busybox, qemu, tmp_path):
    asked = wanted(kernel, busybox, tmp_path, workload="fork", start="boot", timeout=120)
    captured = capture(asked)
    header = captured.summary.header
    assert captured.recording.ended == "end"
    assert captured.summary.recorded["unexplained_stores"] == 0
    assert (header.origin, header.guest_mode, header.vcpu_count) == ("captured", "long", 1)
    assert header.provenance["kernel_release"] in str(kernel)
    assert header.provenance["plugin_api"] == qemu.api
    assert header.losses
    assert set(header.workload_marks) == {"1", "2", "16", "17", "18"}
    events = captured.summary.events_by_kind
    assert events["TABLE_STORE"] > 10_000
    assert events["PAGE_FAULT"] > 1_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["guest.unverified.rft"]
    path, verified = judge(captured)
    assert verified.is_good, verified.complaint
    assert verified.agreed == verified.asked > 500_000
    assert [each.name for each in tmp_path.iterdir()] == ["guest.rft"]
    with TraceReader(path) as reader:
        assert sum(block.event_count for block in reader.blocks()) == captured.summary.event_count


def test_a_guest_that_does_not_boot_leaves_nothing(kernel, busybox, qemu, tmp_path):
    asked = wanted(kernel, busybox, tmp_path, workload="fork", timeout=0.5)
    with pytest.raises(CaptureError, match=r"did not come to its recording within 0.5 s"):
        capture(asked)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_the_recording_and_keeps_a_trace(kernel, busybox, qemu, tmp_path):
    begun = threading.Event()

    def interrupt_once(now):
        if now.is_recording and not begun.is_set():
            begun.set()
            signal.raise_signal(signal.SIGINT)

    asked = wanted(kernel, busybox, tmp_path, workload="boot", timeout=120)
    began = time.monotonic()
    captured = capture(asked, progress=interrupt_once)
    assert time.monotonic() - began < 60
    assert captured.recording.ended == "interrupted"
    assert captured.summary.event_count
    assert any("interrupted" in each for each in captured.summary.header.losses)
