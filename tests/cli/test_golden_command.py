"""``refault golden`` in several processes, stopped from a terminal."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import zstandard

from refault.trace.importers.vectors import to_lines
from tests.engines.exhausting import dirty_logs

PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from refault.cli.main import main; main()"
)


def long_cases(folder):
    """Two vectors of long operations, each with a result."""
    with dirty_logs(60_000).trace() as trace:
        lines = "".join(f"{line}\n" for line in to_lines(trace.header, trace.blocks()))
    for name in ("one", "two"):
        (folder / f"{name}.ops.jsonl.zst").write_bytes(zstandard.compress(lines.encode()))
        (folder / f"{name}.expect").write_bytes(zstandard.compress(b"{}\n"))
    vectors = {name: {"expect": {"base": f"{name}.expect"}} for name in ("one", "two")}
    (folder / "MANIFEST.json").write_text(json.dumps(vectors))


def children_of(process):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def test_ctrl_c_in_a_terminal_ends_all_processes_with_one_line(tmp_path):
    long_cases(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "golden", str(tmp_path), "--jobs", "2"],
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        while process.poll() is None and len(children_of(process)) < 3:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        told = process.communicate()[1].decode()

    assert told == "refault: interrupted\n"
    assert process.returncode == 128 + signal.SIGINT
