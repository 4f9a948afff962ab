"""Large files from the client and from ``refault push``, broken off and gone on with."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import anyio
import pytest

from refault.client import AsyncClient, Client, connection, resumable
from refault.errors import Refused, Unavailable
from tests.fixtures.api import Server, trace_bytes
from tests.patience import PATIENCE_SECONDS, eventually


@pytest.fixture
def trace_file(tmp_path, monkeypatch):
    """A file the client takes for a large one, and sends in several parts."""
    path = tmp_path / "boot.rft"
    path.write_bytes(trace_bytes(event_count=60_000))
    monkeypatch.setattr(resumable, "LARGE_BYTES", 1000)
    monkeypatch.setattr(resumable, "PART_BYTES", path.stat().st_size // 3 + 1)
    return path


def is_stored(rows, path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return (rows.blobs / digest[:2] / digest).read_bytes() == path.read_bytes()


def test_a_large_file_goes_in_parts_with_its_words(token, live, rows, trace_file):
    seen = []
    with Client(live, token=token) as client:
        upload = client.upload_trace(
            trace_file, tags=["a"], note="é", progress=lambda *place: seen.append(place)
        )
        again = client.upload_trace(trace_file)

    assert (upload.trace["name"], upload.trace["tags"], upload.trace["note"]) == (
        "boot",
        ["a"],
        "é",
    )
    assert (upload.was_present, again.was_present) == (False, True)
    assert seen == sorted(seen)
    assert seen[-1] == (trace_file.stat().st_size,) * 2
    assert is_stored(rows, trace_file)


def test_a_large_file_goes_from_async_code_too(token, live, rows, trace_file):
    async def push():
        async with AsyncClient(live, token=token) as client:
            return await client.upload_trace(trace_file, tags=["b"])

    assert anyio.run(push).trace["tags"] == ["b"]
    assert is_stored(rows, trace_file)


class Stopped(Exception):
    pass


def test_an_upload_that_was_stopped_goes_on_in_another_client(token, live, rows, trace_file):
    def stop(sent, total):
        if sent > total // 2:
            raise Stopped

    with Client(live, token=token) as client, pytest.raises(Stopped):
        client.upload_trace(trace_file, progress=stop)
    seen = []
    with Client(live, token=token) as client:
        client.upload_trace(trace_file, progress=lambda *place: seen.append(place))

    assert seen[0][0] > resumable.PART_BYTES
    assert is_stored(rows, trace_file)


def test_an_upload_that_was_stopped_can_be_looked_at_and_given_up(token, live, rows, trace_file):
    def stop(sent, total):
        if sent > total // 2:
            raise Stopped

    with Client(live, token=token) as client:
        with pytest.raises(Stopped):
            client.upload_trace(trace_file, progress=stop)
        [left] = client.list_uploads()["items"]
        assert client.list_uploads("0" * 64)["items"] == []
        assert client.get_upload(left["id"])["offset_bytes"] >= resumable.PART_BYTES
        # The server may still be taking the part that was broken off.
        eventually(lambda: is_ended(client, left["id"]), "the end of the request that was stopped")
        assert client.list_uploads()["items"] == []
    assert rows.nothing_is_left()


def is_ended(client, upload):
    """Ends an upload; False while another request writes to it."""
    try:
        client.end_upload(upload)
    except Refused as refusal:
        if refusal.problem["type"] != "/problems/upload-busy":
            raise
        return False
    return True


def test_a_bad_trace_is_refused_with_its_byte(token, live, rows, trace_file):
    data = bytearray(trace_file.read_bytes())
    data[len(data) // 2] ^= 1
    trace_file.write_bytes(data)

    with Client(live, token=token) as client, pytest.raises(Refused) as refusal:
        client.upload_trace(trace_file)

    assert refusal.value.problem["type"] == "/problems/trace-corrupt"
    assert rows.nothing_is_left()


def test_an_upload_outlives_the_server(token, api_settings, rows, trace_file, tmp_path):
    first = Server(api_settings, tmp_path / "first.log")
    servers = [first]
    killed = []

    def kill_once(sent, total):
        if sent > total // 2 and not killed:
            killed.append(sent)
            first.kill()
            port = int(first.address.rpartition(":")[2])
            servers.append(Server(api_settings, tmp_path / "second.log", port=port))
            servers[-1].wait_until_it_answers()

    try:
        first.wait_until_it_answers()
        with Client(first.address, token=token) as client:
            client.upload_trace(trace_file, progress=kill_once)
        assert killed
        assert is_stored(rows, trace_file)
    finally:
        servers[-1].stop()


def test_a_server_that_stays_away_is_given_up(
    token, api_settings, rows, trace_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(connection, "reconnect_delay_s", lambda _: 0.01)
    server = Server(api_settings, tmp_path / "server.log")
    server.wait_until_it_answers()

    def kill(sent, total):
        if server.process.is_alive():
            server.kill()

    with Client(server.address, token=token) as client, pytest.raises(Unavailable):
        client.upload_trace(trace_file, progress=kill)


def push(live, token, *arguments, **given):
    command = [sys.executable, "-m", "refault.cli.main", "push", *map(str, arguments)]
    environment = os.environ | {"REFAULT_URL": live, "REFAULT_TOKEN": token, "NO_PROXY": "*"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **given
    )


def test_push_uploads_files_and_says_so_in_json(token, live, rows, trace_file):
    first = push(live, token, trace_file, "--name", "Boot", "--tag", "x", "--tag", "y", "--json")
    told, _ = first.communicate(timeout=PATIENCE_SECONDS)
    again, _ = push(live, token, trace_file).communicate(timeout=PATIENCE_SECONDS)

    assert first.returncode == 0
    [entry] = json.loads(told)
    assert (entry["name"], entry["tags"], entry["was_present"]) == ("Boot", ["x", "y"], False)
    assert again.startswith(f"{trace_file}: already there as Boot, sha256 ")


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ("bad", 2, "byte "),
        ("missing", 2, "cannot be opened: No such file"),
        ("nobody", 3, "cannot reach"),
    ],
)
def test_push_says_what_is_wrong_and_ends_with_its_code(
    token, live, trace_file, change, code, words
):
    if change == "bad":
        trace_file.write_bytes(trace_file.read_bytes()[:-1] + b"x")
    elif change == "missing":
        trace_file.unlink()
    process = push("http://127.0.0.1:1" if change == "nobody" else live, token, trace_file)
    _, said = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == code
    assert words in said
    assert "Traceback" not in said


def test_push_goes_on_after_ctrl_c(token, live, rows, large):
    process = push(live, token, large)
    partial = rows.blobs / "partial"

    def some_arrived():
        assert process.poll() is None, process.stderr.read()
        return any(file.stat().st_size for file in partial.glob("*"))

    eventually(some_arrived, "the first bytes", every_seconds=0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, said
    with Client(live, token=token) as client:
        [unfinished] = client._http.get("/api/v1/uploads").json()["items"]

    again = push(live, token, large)
    told, said = again.communicate(timeout=PATIENCE_SECONDS)

    assert again.returncode == 0, said
    assert "uploaded as" in told
    assert is_stored(rows, large)
    with Client(live, token=token) as client:
        done = client._http.get(f"/api/v1/uploads/{unfinished['id']}").json()
    assert done["state"] == "done"
