import http.server
import inspect
import threading

import anyio
import httpx
import pytest

from refault.client import AsyncClient, Client, connection
from refault.errors import NotATrace, Refused, Unavailable
from tests.builders import digest_of
from tests.fixtures.api import SERIES, bearer, trace_bytes
from tests.patience import PATIENCE_SECONDS


@pytest.fixture
def client(live, token):
    with Client(live, token=token) as client:
        yield client


@pytest.fixture
def trace_file(tmp_path):
    path = tmp_path / "boot.rft"
    path.write_bytes(trace_bytes(event_count=20_000))
    return path


def test_an_upload_is_streamed_with_progress_and_not_repeated(client, trace_file):
    seen = []

    first = client.upload_trace(trace_file, progress=lambda *place: seen.append(place))
    second = client.upload_trace(trace_file, progress=lambda *place: seen.append(place))

    size_bytes = trace_file.stat().st_size
    assert seen[-1] == (size_bytes, size_bytes)
    assert len(set(seen)) == len(seen)
    assert (first.was_present, second.was_present) == (False, True)
    assert first.trace == second.trace
    assert first.trace["name"] == "boot"
    assert client.get_trace(first.trace["digest"]) == first.trace
    assert [trace["id"] for trace in client.list_traces()["items"]] == [first.trace["id"]]


def test_a_bad_trace_is_refused_with_its_byte_while_it_is_still_being_sent(client, tmp_path):
    # Large enough that the answer comes long before the last byte was taken.
    path = tmp_path / "bad.rft"
    path.write_bytes(trace_bytes()[:-40] + b"x" * 40_000_000)

    with pytest.raises(Refused) as caught:
        client.upload_trace(path)

    assert caught.value.status == 422
    assert caught.value.problem["type"] == "/problems/trace-corrupt"
    assert f"byte {caught.value.problem['offset']}: " in str(caught.value)


def test_a_file_that_cannot_be_read_says_so(client, tmp_path):
    with pytest.raises(NotATrace, match=r"nothing\.rft: cannot be read: No such file"):
        client.upload_trace(tmp_path / "nothing.rft")


def test_a_series_goes_from_catalogue_to_comparison(client, rows):
    digests = rows.ready_for_seed_series()
    assert len(client.list_patches()["items"]) == 44
    assert client.get_patch("zap-account")["id"] == "zap-account"
    assert client.list_bases()["items"][0]["id"] == "v2.6.34-pre"

    patch_set = client.create_patch_set(
        SERIES["name"], base="v2.6.34-pre", patches=SERIES["patches"]
    )
    batch = client.submit_batch(digests, [patch_set["id"]], plan="series")

    assert client.get_patch_set(patch_set["id"]) == patch_set
    assert client.list_patch_sets()["items"] == [patch_set]
    assert [entry["code"] for entry in client.list_batches()["items"]] == [batch["code"]]
    run = client.get_run(client.list_runs(batch["code"])["items"][0]["id"])
    assert run["result"]["counters"]["exits"] == 47334
    assert len(client.comparison(batch["code"])["comparisons"]) == 2
    assert "No real-code result exists" in client.comparison_text(batch["code"])
    assert client.comparison_text(batch["code"], form="csv").startswith("trace,")
    assert [event.event for event in client.watch_batch(batch["code"])] == ["finished"]


def queued(client, rows):
    rows.register_simulator()
    patch_set = client.create_patch_set("one", base="v2.6.34-pre", patches=["zap-account"])
    return client.submit_batch([rows.add_trace("boot")], [patch_set["id"]])["code"]


def test_a_batch_is_watched_until_it_is_over(client, rows):
    code = queued(client, rows)
    kinds = []

    for event in client.watch_batch(code):
        kinds.append(event.data["kind"])
        if len(kinds) == 1:
            assert client.cancel_batch(code)["state"] == "cancelled"

    assert kinds[0] == "batch.planned"
    assert kinds[-1] == "batch.cancelled"


class Cut(httpx.BaseTransport):
    """A network that breaks the first event streams after some bytes each."""

    def __init__(self, cuts) -> None:
        self.inner = httpx.HTTPTransport()
        self.cuts = list(cuts)
        self.resumed_from = []

    def handle_request(self, request):
        response = self.inner.handle_request(request)
        if request.url.path.endswith("/events"):
            self.resumed_from.append(request.headers.get("last-event-id"))
            if self.cuts:
                response.stream = _CutStream(response.stream, self.cuts.pop(0))
        return response

    def close(self):
        self.inner.close()


class _CutStream(httpx.SyncByteStream):
    def __init__(self, inner, left) -> None:
        self.inner, self.left = inner, left

    def __iter__(self):
        for chunk in self.inner:
            if len(chunk) >= self.left:
                yield chunk[: self.left]
                raise httpx.ReadError("the network broke")
            self.left -= len(chunk)
            yield chunk

    def close(self):
        self.inner.close()


def test_a_watched_batch_survives_broken_connections_without_gap_or_repeat(live, token, rows):
    with Client(live, token=token) as client:
        code = queued(client, rows)
        client.cancel_batch(code)
        story = list(client.watch_batch(code))
        first_bytes = len(_stream_text(live, token, code).split("\n\n")[0]) + 4

    transport = Cut([10, first_bytes, 20])
    with Client(live, token=token, transport=transport) as client:
        again = list(client.watch_batch(code))

    assert again == story
    assert transport.resumed_from == [None, None, story[0].id, story[0].id]


def _stream_text(live, token, code):
    url = f"{live}/api/v1/batches/{code}/events"
    return httpx.get(url, headers=bearer(token), trust_env=False, timeout=PATIENCE_SECONDS).text


def test_a_service_that_is_gone_for_good_ends_the_watch(monkeypatch):
    monkeypatch.setattr(connection, "reconnect_delay_s", lambda _: 0.0)
    with Client("http://127.0.0.1:1") as client, pytest.raises(Unavailable):
        list(client.watch_batch("b-1"))


def test_a_service_that_is_not_there_is_named_with_what_to_do():
    named = pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:1.*make serve")
    with Client("http://127.0.0.1:1") as client, named:
        client.list_traces()


def test_a_refusal_lists_every_place_that_is_wrong(client, rows):
    with pytest.raises(Refused) as caught:
        client.create_patch_set("bad", base="v2.6.34-pre", patches=["nothing"])

    assert caught.value.status == 422
    assert caught.value.problem["errors"][0]["pointer"] == "/patches/0"
    assert "'nothing' is not in the catalogue" in str(caught.value)


def test_a_name_with_dots_and_slashes_reaches_nothing_else(client):
    with pytest.raises(Refused) as caught:
        client.get_batch("../traces")

    assert caught.value.status == 404


class _OtherServer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = {"/api/v1/traces": (502, b"bad gateway")}.get(self.path, (200, b"<html>"))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_another_server_is_not_taken_for_the_service():
    with http.server.HTTPServer(("127.0.0.1", 0), _OtherServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with Client(f"http://127.0.0.1:{server.server_port}") as client:
                with pytest.raises(Unavailable, match="502"):
                    client.list_traces()
                with pytest.raises(Refused, match="did not answer with JSON"):
                    client.list_patches()
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.anyio
async def test_the_asynchronous_client_does_what_the_other_does(site, token, rows, trace_file):
    digests = rows.ready_for_seed_series()
    seen = []
    async with AsyncClient(
        "http://refault.test", token=token, transport=httpx.ASGITransport(site)
    ) as client:
        upload = await client.upload_trace(trace_file, progress=lambda *at: seen.append(at))
        again = await client.upload_trace(trace_file)
        patch_set = await client.create_patch_set("s", base="v2.6.34-pre", patches=[])
        batch = await client.submit_batch(digests, [patch_set["id"]])
        events = [event async for event in client.watch_batch(batch["code"])]
        with pytest.raises(Refused, match="no trace"):
            await client.get_trace(digest_of("nothing"))

    assert seen[-1] == (trace_file.stat().st_size,) * 2
    assert again.was_present
    assert again.trace == upload.trace
    assert events[-1].event == "finished"
    assert events[-1].data["progress"]["cached"] == 2


@pytest.mark.anyio
async def test_an_asynchronous_watch_of_a_dead_service_ends(monkeypatch):
    monkeypatch.setattr(connection, "reconnect_delay_s", lambda _: 0.0)
    async with AsyncClient("http://127.0.0.1:1") as client:
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(Unavailable):
            [event async for event in client.watch_batch("b-1")]


def test_both_clients_have_the_same_calls():
    def calls(kind):
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            # A page passes on what a browser sends; nobody else has a stream of it.
            if not name.startswith("_") and name != "upload_stream"
        }

    assert calls(Client) == calls(AsyncClient)
