"""The real clients of tus against the service as it is deployed."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from refault.trace import Block, TraceHeader, TraceWriter
from tests.fixtures.api import RAM, Server

SCRIPT = Path(__file__).parents[1] / "fixtures" / "tus.js"


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """A trace of some 40 MB that hardly compresses: large enough to be interrupted."""
    path = tmp_path_factory.mktemp("large") / "large.rft"
    noise = np.random.default_rng(4)
    header = TraceHeader("capture", "large", "long", 1, slots=(RAM,))
    count = 250_000
    with path.open("wb") as stream, TraceWriter(stream, header, level=1) as writer:
        for _ in range(12):
            pages = noise.integers(1, 15, count) * 4096
            words = noise.integers(0, 1 << 47, count, dtype=np.int64) & ~np.int64(4095)
            writer.append_block(
                Block(
                    0,
                    np.full(count, 1, np.uint8),
                    np.zeros(count, np.uint8),
                    np.zeros(count, np.uint8),
                    np.full(count, 3, np.uint8),
                    noise.integers(0, 1 << 20, count, dtype=np.uint32),
                    words + 8 * noise.integers(0, 511, count),
                    pages + 8 * noise.integers(0, 511, count),
                )
            )
    return path


@pytest.fixture
def http(live):
    with httpx.Client(base_url=live, trust_env=False) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def opened():
    """Opens files for tuspy, which closes none of those it opens itself."""
    with contextlib.ExitStack() as streams:
        yield lambda path: streams.enter_context(path.open("rb"))


def stored(rows, path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return (rows.blobs / digest[:2] / digest).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("with_checksum", [False, True])
def test_tuspy_uploads_in_chunks(opened, live, http, rows, large, with_checksum):
    uploader = TusClient(f"{live}/api/v1/uploads").uploader(
        file_stream=opened(large),
        chunk_size=5_000_000,
        metadata={"name": "x"},
        upload_checksum=with_checksum,
    )
    uploader.upload()

    assert stored(rows, large)
    [trace] = http.get("/api/v1/traces").json()["items"]
    assert trace["name"] == "x"


def test_tuspy_goes_on_after_it_stopped(opened, live, rows, large):
    client = TusClient(f"{live}/api/v1/uploads")
    first = client.uploader(file_stream=opened(large), chunk_size=1_234_567)
    for _ in range(3):
        first.upload_chunk()

    second = client.uploader(file_stream=opened(large), chunk_size=7_654_321, url=first.url)
    assert second.offset == 3 * 1_234_567
    second.upload()

    assert stored(rows, large)


def test_tuspy_goes_on_after_the_server_was_killed_within_a_chunk(
    opened, api_settings, rows, large, tmp_path
):
    server = Server(api_settings, tmp_path / "first.log")
    port = server.address.rpartition(":")[2]
    successor = None
    try:
        server.wait_until_it_answers()
        uploader = TusClient(f"{server.address}/api/v1/uploads").uploader(
            file_stream=opened(large), chunk_size=3_000_000
        )
        uploader.upload_chunk()
        safe = uploader.offset
        writing = threading.Thread(target=_send_slowly, args=(uploader.url, large, safe))
        writing.start()
        partial = rows.blobs / "partial" / uploader.url.rpartition("/")[2]
        # The server has written beyond what it called safe when it is killed.
        deadline = time.monotonic() + 20
        while partial.stat().st_size <= safe:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.kill()
        writing.join()
        assert partial.stat().st_size > safe

        successor = Server(api_settings, tmp_path / "second.log", port=int(port))
        successor.wait_until_it_answers()
        again = TusClient(f"{successor.address}/api/v1/uploads").uploader(
            file_stream=opened(large), chunk_size=9_000_000, url=uploader.url
        )
        assert again.offset == safe
        again.upload()
        assert stored(rows, large)
    finally:
        (successor or server).stop()


def _send_slowly(url, path, offset):
    def body():
        with path.open("rb") as stream:
            stream.seek(offset)
            while chunk := stream.read(200_000):
                yield chunk
                time.sleep(0.02)

    headers = {
        "tus-resumable": "1.0.0",
        "upload-offset": str(offset),
        "content-type": "application/offset+octet-stream",
    }
    with pytest.raises(httpx.TransportError):
        httpx.patch(url, headers=headers, content=body(), trust_env=False)


def test_tuspy_hears_why_a_bad_trace_is_refused(opened, live, rows, large, tmp_path):
    bad = tmp_path / "bad.rft"
    data = bytearray(large.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    uploader = TusClient(f"{live}/api/v1/uploads").uploader(
        file_stream=opened(bad), chunk_size=4_000_000
    )

    with pytest.raises(TusCommunicationError) as refusal:
        uploader.upload()

    assert refusal.value.status_code == 422
    assert b"trace-corrupt" in refusal.value.response_content
    assert rows.nothing_is_left()


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory):
    """tus-js-client, if npm has it without a network."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node is not installed: tus-js-client is not tried")
    folder = tmp_path_factory.mktemp("node")
    done = subprocess.run(
        [npm, "install", "--offline", "--no-audit", "--no-fund", "tus-js-client"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("npm has no tus-js-client in its cache: it is not tried")
    return folder / "node_modules"


def run_node(node_modules, *arguments, **environment):
    return subprocess.run(
        ["node", SCRIPT, *map(str, arguments)],
        env=os.environ | {"NODE_PATH": str(node_modules)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_tus_js_client_uploads_and_goes_on_after_it_stopped(live, http, rows, large, node_modules):
    stopped = run_node(node_modules, live, large, 4_000_000, 8_000_000)
    assert stopped.returncode == 3, stopped.stderr
    place = stopped.stdout.strip()

    done = run_node(node_modules, live, large, 6_000_000, UPLOAD_URL=place)

    assert done.returncode == 0, done.stderr
    assert stored(rows, large)
    [trace] = http.get("/api/v1/traces").json()["items"]
    assert (trace["name"], trace["tags"]) == ("from node", ["node"])
