"""What recording costs a guest: its workload under QEMU with the plugin and without.

``python benchmarks/capture_speed.py [KERNEL]``; KERNEL is a bzImage of x86-64, without one that of
`make guests`, and nothing is measured where there is none. The workload is fork. Figures, in one
run, processor time of QEMU from the line that says that the guest is up to the end of the workload,
both kinds of guest in turns:

=====================  ====================================================================
capture_vs_plain       recording / plain TCG, median of each
capture_bytes          bytes of the trace an event; the goal is 1.0
=====================  ====================================================================
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from report import record

from refault.capture import Wanted, capture
from refault.capture.capturing import Prepared, prepare
from refault.capture.request import command_line

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5
TICKS = os.sysconf("SC_CLK_TCK")
UP, DONE = b"refault: the guest is up", b"refault: done"
SECONDS_MAX = 120


def processor_seconds(pid: int) -> float:
    """Processor time of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def drain(source: int, done: threading.Event) -> None:
    """Read the plugin's records and drop them."""
    with os.fdopen(source, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
    done.set()


def seconds(prepared: Prepared, *, is_recorded: bool) -> float:
    """Processor time of one guest's workload."""
    out, out_in = os.pipe()
    report, report_in = os.pipe()
    command = command_line(prepared.qemu, prepared.machine, out=out_in, report=report_in)
    command = command if is_recorded else command[: command.index("-plugin")]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, pass_fds=(out_in, report_in)
    )
    os.close(out_in)
    os.close(report_in)
    ended = threading.Event()
    for pipe in (out, report):
        is_records = pipe == out and is_recorded
        threading.Thread(
            target=drain, args=(pipe, ended if is_records else threading.Event()), daemon=True
        ).start()
    text, begun, deadline = b"", 0.0, time.monotonic() + SECONDS_MAX
    os.set_blocking(process.stdout.fileno(), False)
    try:
        while time.monotonic() < deadline:
            text += process.stdout.read() or b""
            if not begun and UP in text:
                begun = processor_seconds(process.pid)
            if begun and (ended.is_set() if is_recorded else DONE in text):
                return processor_seconds(process.pid) - begun
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    raise SystemExit(f"the guest did not end; it said {text[-300:]!r}")


def main() -> None:
    """Measure both figures and record them."""
    kept = sorted(ROOT.glob(".cache/guests/amd64/boot/vmlinuz-*"))
    kernels = [Path(name) for name in sys.argv[1:]] or kept
    if not kernels:
        print("no kernel to boot: make guests")
        return
    kernel, workload = kernels[-1], "fork"
    with tempfile.TemporaryDirectory() as folder:
        wanted = Wanted(name="t", out=Path(folder), kernel=kernel, workload=workload)
        prepared = prepare(wanted, Path(folder))
        pairs = [
            (seconds(prepared, is_recorded=False), seconds(prepared, is_recorded=True))
            for _ in range(RUNS)
        ]
        captured = capture(wanted)
    plain, recorded = map(statistics.median, zip(*pairs, strict=True))
    print(f"{workload}: {[f'{a:.2f}/{b:.2f}' for a, b in pairs]}")
    record(
        "capture_vs_plain",
        ratio=recorded / plain,
        what=f"processor time of QEMU for the workload {workload}: recording / plain TCG",
        ours=recorded,
        theirs=plain,
    )
    events = captured.summary.event_count
    record(
        "capture_bytes",
        ratio=captured.summary.size_bytes / events,
        what=f"bytes of the trace / events, workload {workload}",
        ours=captured.summary.size_bytes,
        theirs=events,
    )


if __name__ == "__main__":
    main()
