"""Both clients against the real application in this process, through its ASGI transport."""

import hashlib

import anyio
import httpx
import pytest

from refault.client import AsyncClient, Client
from refault.errors import DigestMismatch, InvalidRequest, Refused, Unavailable
from tests.fixtures.api import SERIES, trace_bytes


@pytest.fixture
def trace_file(tmp_path):
    path = tmp_path / "boot.rft"
    path.write_bytes(trace_bytes(event_count=50_000))
    return path


class InProcess(httpx.BaseTransport):
    """The ASGI transport for a client that does not wait: a loop of its own for each request."""

    def __init__(self, app) -> None:
        self.inner = httpx.ASGITransport(app, raise_app_exceptions=False)

    def handle_request(self, request):
        async def ask():
            asked = httpx.Request(
                request.method, request.url, headers=request.headers, content=request.read()
            )
            answer = await self.inner.handle_async_request(asked)
            return answer.status_code, answer.headers, await answer.aread()

        status, headers, body = anyio.run(ask)
        return httpx.Response(status, headers=headers, content=body)


@pytest.fixture
def client(site, token):
    with Client("http://testserver", token=token, transport=InProcess(site)) as client:
        yield client


def digest_of_file(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_trace_goes_up_under_its_digest_and_comes_down_the_same(client, trace_file, tmp_path):
    first = client.put_blob(trace_file, name="boot")
    again = client.put_blob(trace_file)
    client.download_trace(first.trace["digest"], tmp_path / "down.rft")

    assert (first.was_present, again.was_present) == (False, True)
    assert first.trace["digest"] == digest_of_file(trace_file)
    assert (tmp_path / "down.rft").read_bytes() == trace_file.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_a_dry_run_counts_the_cells_and_starts_nothing(client, rows):
    digests = rows.ready_for_seed_series()
    row = client.create_patch_set(SERIES["name"], base="v2.6.34-pre", patches=SERIES["patches"])

    estimate = client.estimate_batch(digests, [row["id"]], plan="series")

    assert (estimate["cells"], estimate["cached"], estimate["to_run"]) == (10, 10, 0)
    assert client.list_batches()["items"] == []


def test_what_is_missing_of_the_service_is_an_answer_and_no_refusal(client):
    assert client.is_alive() == {"status": "ok"}
    ready = client.is_ready()
    assert ready["status"] == "unavailable"
    assert ready["parts"]["database"]["state"] == "ok"
    assert ready["parts"]["broker"]["state"] != "ok"
    assert ready["parts"]["broker"]["remedy"]


def test_problems_are_listed_and_explained(client):
    names = [problem["name"] for problem in client.list_problems()["items"]]

    assert "not-found" in names
    assert client.get_problem("not-found")["status"] == 404


def test_the_async_client_says_the_same(site, token, client, trace_file, tmp_path):
    async def ask():
        async with AsyncClient.in_process(site, "http://testserver", token=token) as http:
            upload = await http.put_blob(trace_file)
            await http.download_trace(upload.trace["digest"], tmp_path / "down.rft")
            return upload.trace, await http.list_problems(), await http.is_alive()

    trace, problems, alive = anyio.run(ask)

    assert (tmp_path / "down.rft").read_bytes() == trace_file.read_bytes()
    assert trace == client.get_trace(trace["digest"])
    assert problems == client.list_problems()
    assert alive == client.is_alive()


def test_a_blob_that_is_not_there_is_refused_and_leaves_nothing(client, tmp_path):
    with pytest.raises(Refused) as caught:
        client.download_trace("0" * 64, tmp_path / "down.rft")

    assert caught.value.status == 404
    assert not (tmp_path / "down.rft").exists()


class Breaking(httpx.BaseTransport):
    """Serves bytes by range, and breaks off every answer after ``piece`` of them."""

    def __init__(self, data, piece) -> None:
        self.data, self.piece = data, piece
        self.ranges = []

    def handle_request(self, request):
        asked = request.headers.get("range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(self.data):
            return httpx.Response(416)
        rest = self.data[start:]
        return httpx.Response(
            206 if asked else 200,
            headers={"content-length": str(len(rest))},
            stream=_Broken(rest, self.piece),
        )


class _Broken(httpx.SyncByteStream):
    def __init__(self, data, piece) -> None:
        self.data, self.piece = data, piece

    def __iter__(self):
        yield self.data[: self.piece]
        if self.piece < len(self.data):
            raise httpx.ReadError("the network broke")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("refault.client.connection.reconnect_delay_s", lambda _: 0.0)


def test_a_download_goes_on_where_it_broke_off_however_often(tmp_path):
    data = bytes(range(256)) * 6000
    transport = Breaking(data, 300_000)
    seen = []

    with Client("http://x", transport=transport) as client:
        client.download_trace(
            hashlib.sha256(data).hexdigest(),
            tmp_path / "down.rft",
            progress=lambda *place: seen.append(place),
        )

    assert (tmp_path / "down.rft").read_bytes() == data
    # Whole chunks are kept of what came before the break.
    assert transport.ranges[:3] == [None, "bytes=262144-", "bytes=524288-"]
    assert seen[-1] == (len(data), len(data))


def test_another_process_goes_on_with_what_is_there(tmp_path):
    data = b"0123456789"
    (tmp_path / "down.rft.part").write_bytes(data[:4])
    transport = Breaking(data, 100)

    with Client("http://x", transport=transport) as client:
        client.download_trace(hashlib.sha256(data).hexdigest(), tmp_path / "down.rft")

    assert transport.ranges == ["bytes=4-"]
    assert (tmp_path / "down.rft").read_bytes() == data


@pytest.mark.parametrize("part", [b"0x23", b"01234567890"])
def test_wrong_bytes_are_thrown_away_and_the_next_attempt_starts_afresh(tmp_path, part):
    data = b"0123456789"
    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / "down.rft.part").write_bytes(part)

    with Client("http://x", transport=Breaking(data, 100)) as client:
        with pytest.raises(DigestMismatch):
            client.download_trace(digest, tmp_path / "down.rft")
        client.download_trace(digest, tmp_path / "down.rft")

    assert (tmp_path / "down.rft").read_bytes() == data


def test_a_service_that_breaks_off_at_once_every_time_is_given_up(tmp_path):
    with (
        Client("http://x", transport=Breaking(b"0" * 10, 0)) as client,
        pytest.raises(Unavailable),
    ):
        client.download_trace("0" * 64, tmp_path / "down.rft")


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with (
        Client("http://x", transport=Breaking(b"0", 1)) as client,
        pytest.raises(InvalidRequest, match="cannot be written"),
    ):
        client.download_trace("0" * 64, tmp_path / "file" / "down.rft")
