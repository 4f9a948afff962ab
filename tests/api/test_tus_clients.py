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
import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from tests.fixtures.api import Server
from tests.patience import PATIENCE_SECONDS, eventually

SCRIPT = Path(__file__).parents[1] / "fixtures" / "tus.js"


@pytest.fixture
def http(live, token):
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(
        base_url=live, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS
    ) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def opened():
    """Opens files for tuspy, which closes none of those it opens itself."""
    with contextlib.ExitStack() as streams:
        yield lambda path: streams.enter_context(path.open("rb"))


def tus_client(address, token):
    return TusClient(f"{address}/api/v1/uploads", headers={"authorization": f"Bearer {token}"})


def stored(rows, path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return (rows.blobs / digest[:2] / digest).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("with_checksum", [False, True])
def test_tuspy_uploads_in_chunks(opened, token, live, http, rows, large, with_checksum):
    uploader = tus_client(live, token).uploader(
        file_stream=opened(large),
        chunk_size=5_000_000,
        metadata={"name": "x"},
        upload_checksum=with_checksum,
    )
    uploader.upload()

    assert stored(rows, large)
    [trace] = http.get("/api/v1/traces").json()["items"]
    assert trace["name"] == "x"


def test_tuspy_goes_on_after_it_stopped(opened, token, live, rows, large):
    client = tus_client(live, token)
    first = client.uploader(file_stream=opened(large), chunk_size=1_234_567)
    for _ in range(3):
        first.upload_chunk()

    second = client.uploader(file_stream=opened(large), chunk_size=7_654_321, url=first.url)
    assert second.offset == 3 * 1_234_567
    second.upload()

    assert stored(rows, large)


def test_tuspy_goes_on_after_the_server_was_killed_within_a_chunk(
    opened, token, api_settings, rows, large, tmp_path
):
    server = Server(api_settings, tmp_path / "first.log")
    port = server.address.rpartition(":")[2]
    successor = None
    try:
        server.wait_until_it_answers()
        uploader = tus_client(server.address, token).uploader(
            file_stream=opened(large), chunk_size=3_000_000
        )
        uploader.upload_chunk()
        safe = uploader.offset
        writing = threading.Thread(target=_send_slowly, args=(uploader.url, token, large, safe))
        writing.start()
        partial = rows.blobs / "partial" / uploader.url.rpartition("/")[2]
        # The server has written beyond what it called safe when it is killed.
        eventually(lambda: partial.stat().st_size > safe, "the server's writing")
        server.kill()
        writing.join()
        assert partial.stat().st_size > safe

        successor = Server(api_settings, tmp_path / "second.log", port=int(port))
        successor.wait_until_it_answers()
        again = tus_client(successor.address, token).uploader(
            file_stream=opened(large), chunk_size=9_000_000, url=uploader.url
        )
        assert again.offset == safe
        again.upload()
        assert stored(rows, large)
    finally:
        (successor or server).stop()


def _send_slowly(url, token, path, offset):
    def body():
        with path.open("rb") as stream:
            stream.seek(offset)
            while chunk := stream.read(200_000):
                yield chunk
                time.sleep(0.02)

    headers = {
        "authorization": f"Bearer {token}",
        "tus-resumable": "1.0.0",
        "upload-offset": str(offset),
        "content-type": "application/offset+octet-stream",
    }
    with pytest.raises(httpx.TransportError):
        httpx.patch(url, headers=headers, content=body(), trust_env=False, timeout=PATIENCE_SECONDS)


def test_tuspy_hears_why_a_bad_trace_is_refused(opened, token, live, rows, large, tmp_path):
    bad = tmp_path / "bad.rft"
    data = bytearray(large.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    uploader = tus_client(live, token).uploader(file_stream=opened(bad), chunk_size=4_000_000)

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


def test_tus_js_client_uploads_and_goes_on_after_it_stopped(
    token, live, http, rows, large, node_modules
):
    stopped = run_node(node_modules, live, large, 4_000_000, 8_000_000, TOKEN=token)
    assert stopped.returncode == 3, stopped.stderr
    place = stopped.stdout.strip()

    done = run_node(node_modules, live, large, 6_000_000, UPLOAD_URL=place, TOKEN=token)

    assert done.returncode == 0, done.stderr
    assert stored(rows, large)
    [trace] = http.get("/api/v1/traces").json()["items"]
    assert (trace["name"], trace["tags"]) == ("from node", ["node"])
