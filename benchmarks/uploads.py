"""How fast a trace is taken, and in how much memory.

    python benchmarks/uploads.py [--mib 1024]

The trace is made of random columns and hardly compresses: the worst there is for hashing and
storing. The API is a server of its own on a real Postgres, as it is deployed. An upload with every
check is held against decoding the same file alone in this process, and against a server that
only hashes and stores. Then four uploads run at once while the memory of the API's processes is
read from the kernel (VmHWM, the highest resident set each ever had).
"""

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from report import record

from db import schema
from db.models import FIRST_PROJECT
from db.repositories import credentials
from db.session import create_engine, transaction
from refault.trace import Block, MemorySlot, TraceHeader, TraceValidator, TraceWriter
from services.local import postgres
from services.local.folder import DataFolder

ROUNDS = 3
AT_ONCE = 4
CHUNK_BYTES = 256 * 1024
BLOCK_EVENTS = 500_000
MIB = 1024 * 1024
HERE = Path(__file__).parent


def main() -> None:
    """Measure, and write down three figures."""
    parser = argparse.ArgumentParser(description="Speed and memory of uploads.")
    parser.add_argument("--mib", type=int, default=1024, help="size of the trace")
    parser.add_argument("--memory-only", action="store_true", help="leave the speeds out")
    asked = parser.parse_args()
    size_bytes = asked.mib * MIB
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        # The server of Postgres runs as another user.
        folder.chmod(0o755)
        trace = folder / "noise.rft"
        write_noise(trace, size_bytes)
        with database(folder) as (url, token):
            if not asked.memory_only:
                with api(url, folder) as (address, _):
                    measure_speed(trace, address, token)
            with api(url, folder) as (address, group):
                measure_memory(trace, address, group, token)


def write_noise(path: Path, size_bytes: int) -> None:
    """A sound trace of about that size whose columns are random."""
    noise = np.random.default_rng(1)
    slot = MemorySlot(slot=0, base_gfn=0, page_count=1 << 16)
    header = TraceHeader("capture", "noise", "long", 1, slots=(slot,))
    count = BLOCK_EVENTS
    with path.open("wb") as stream, TraceWriter(stream, header, level=1) as writer:
        while stream.tell() < size_bytes:
            gva = noise.integers(0, 1 << 46, count, dtype=np.int64)
            gpa = noise.integers(0, 1 << 16, count, dtype=np.int64) << 12
            zeros = np.zeros(count, np.uint8)
            insns = noise.integers(0, 1 << 31, count, dtype=np.uint32)
            writer.append_block(
                Block(0, zeros + 1, zeros, zeros, zeros, insns, gva, gpa | (gva & 0xFFF))
            )


def measure_speed(trace: Path, address: str, token: str) -> None:
    """Uploads against decoding alone and against hashing alone; both sides take turns."""
    size_mib = trace.stat().st_size / MIB
    with hashing_only() as other:
        times: dict[str, list[float]] = {"decode": [], "upload": [], "hash": []}
        for _ in range(ROUNDS):
            times["decode"].append(seconds(lambda: decode(trace)))
            times["upload"].append(
                seconds(lambda: upload(trace, f"{address}/api/v1/traces", token))
            )
            times["hash"].append(seconds(lambda: upload(trace, other, token)))
    rates = {name: size_mib / statistics.median(each) for name, each in times.items()}
    shown = {name: f"{rate:.0f} MiB/s" for name, rate in rates.items()}
    what = f"a trace of {size_mib:.0f} MiB that hardly compresses, by the clock, median of {ROUNDS}"
    record(
        "upload_vs_decode",
        ratio=rates["upload"] / rates["decode"],
        what=f"an upload with every check against decoding alone: {what}",
        ours=shown["upload"],
        theirs=shown["decode"],
    )
    record(
        "upload_vs_hash",
        ratio=rates["upload"] / rates["hash"],
        what=f"an upload with every check against a server that hashes and stores: {what}",
        ours=shown["upload"],
        theirs=shown["hash"],
    )


def measure_memory(trace: Path, address: str, group: int, token: str) -> None:
    """Four uploads at once into a server that did nothing before."""
    before = peak_mib(group)
    threads = [
        threading.Thread(target=upload, args=(trace, f"{address}/api/v1/traces", token))
        for _ in range(AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = peak_mib(group)
    size_mib = trace.stat().st_size / MIB
    record(
        "upload_memory",
        ratio=max(after) / 150,
        what=f"peak memory of the API's largest process while {AT_ONCE} uploads of {size_mib:.0f} "
        "MiB ran, against 150 MiB",
        ours=f"{max(after):.0f} MiB (all of its processes: {sum(after):.0f} MiB; "
        f"before the uploads: {sum(before):.0f} MiB)",
        theirs="150 MiB",
    )


def decode(trace: Path) -> None:
    """Every check an upload gets, in this process."""
    validator = TraceValidator()
    with trace.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            validator.feed(chunk)
    validator.close()


def upload(trace: Path, url: str, token: str) -> None:
    """One request with the bytes of the file."""
    with trace.open("rb") as stream, httpx.Client(trust_env=False, timeout=600) as http:
        chunks = iter(lambda: stream.read(CHUNK_BYTES), b"")
        headers = {"authorization": f"Bearer {token}"}
        http.post(url, content=chunks, headers=headers).raise_for_status()


def seconds(action: object) -> float:
    """How long an action takes by the clock."""
    start = time.perf_counter()
    action()  # type: ignore[operator]
    return time.perf_counter() - start


def peak_mib(group: int) -> list[float]:
    """The highest resident set of each process of a group."""
    peaks = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if os.getpgid(int(status.parent.name)) != group:
                continue
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except (ProcessLookupError, FileNotFoundError):
            continue
        if "VmHWM" in fields:
            peaks.append(int(fields["VmHWM"].split()[0]) / 1024)
    return peaks


@contextmanager
def database(folder: Path) -> Iterator[tuple[str, str]]:
    """A Postgres of its own with an empty schema, and a token that may upload."""
    data = DataFolder(folder / "data")
    data.open()
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(data.path("tmp"))}
    server = postgres.start(data, environment)
    try:
        engine = create_engine(server.url())
        schema.upgrade(engine)
        with transaction(engine, FIRST_PROJECT) as session:
            _, token = credentials.mint_token(session, "benchmark", scopes=("upload",))
        engine.dispose()
        yield server.url(), token
    finally:
        server.process.stop()
        data.close()


@contextmanager
def api(database_url: str, folder: Path) -> Iterator[tuple[str, int]]:
    """The API as it is deployed: its address, and the group of its processes."""
    port = free_port()
    environment = {
        "REFAULT_DATABASE_URL": database_url,
        "REFAULT_BROKER_URL": "redis://127.0.0.1:1/0",
        "REFAULT_BLOBS": str(folder / "blobs"),
        "REFAULT_PORT": str(port),
    }
    with process(["-m", "services.api"], port, environment) as group:
        yield f"http://127.0.0.1:{port}", group


@contextmanager
def hashing_only() -> Iterator[str]:
    """The address of the server that only hashes and stores."""
    port = free_port()
    command = ["-m", "granian", "--interface", "asgi", "--port", str(port), "hash_and_store:app"]
    with process(command, port, {"PYTHONPATH": str(HERE / "kit")}):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def process(command: list[str], port: int, environment: dict[str, str]) -> Iterator[int]:
    """A Python process that listens on a port; its group."""
    paths = [str(HERE.parent), environment.get("PYTHONPATH", "")]
    running = subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield running.pid
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(30)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
