"""Bodies that come slowly, or not at all."""

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest

from services.api.app import create_api
from services.api.site import Site
from tests.api.test_resumable import TUS, UPLOADS
from tests.fixtures.api import Server, bearer, in_process, trace_bytes
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

GOOD = trace_bytes()


@contextlib.asynccontextmanager
async def service(settings, token, **changed):
    api = create_api(settings.model_copy(update=changed))
    async with in_process(Site(api, None), token) as http:
        http.resources = api.state.resources
        yield http
    api.state.resources.close()


class Held:
    """A body of which the rest comes when the test says so."""

    def __init__(self, data, first=1) -> None:
        self.begun, self.may_end = anyio.Event(), anyio.Event()
        self._data, self._first = data, first

    async def __aiter__(self):
        yield self._data[: self._first]
        self.begun.set()
        await self.may_end.wait()
        yield self._data[self._first :]


async def stalled():
    yield b"{"
    await anyio.sleep_forever()


async def trickled():
    while True:
        yield b" "
        await anyio.sleep(0.001)


CALLS = [
    ("POST", "/api/v1/sessions", {"content-type": "application/json"}),
    ("POST", "/api/v1/patch_sets", {"content-type": "application/json"}),
    ("POST", "/api/v1/patch_sets/from_mail", {}),
    ("POST", "/api/v1/traces", {}),
    ("PUT", f"/api/v1/blobs/{'0' * 64}", {}),
    ("PUT", "/api/v1/thresholds", {"content-type": "application/json"}),
    ("POST", "/api/v1/patch_sets", {"content-type": "application/json", "idempotency-key": "k"}),
]


@pytest.mark.parametrize(("method", "path", "headers"), CALLS)
async def test_a_body_that_stops_is_refused_wherever_it_goes(
    api_settings, rows, token, method, path, headers
):
    async with service(api_settings, token, body_wait_seconds=0.05) as http:
        with anyio.fail_after(PATIENCE_SECONDS):
            answer = await http.request(method, path, content=stalled(), headers=headers)
        assert http.resources.bodies.coming_count == 0
    if path == "/api/v1/traces" or "blobs" in path:
        # One byte shows already that it is no trace.
        assert answer.status_code in {408, 422}
        return
    assert answer.status_code == 408, answer.text
    assert answer.json()["type"] == "/problems/upload-stalled"
    assert answer.headers["connection"] == "close"


async def test_a_body_that_comes_byte_by_byte_is_refused_as_well(api_settings, rows, token):
    """Each byte came in time; time is earned by bytes, and these earn too little."""
    async with service(
        api_settings, token, body_wait_seconds=0.05, body_bytes_per_second=10**6
    ) as http:
        with anyio.fail_after(PATIENCE_SECONDS):
            answer = await http.post("/api/v1/patch_sets", content=trickled())
    assert answer.status_code == 408, answer.text


async def test_uploads_whose_senders_wait_hold_no_place_of_those_that_send(
    api_settings, rows, token
):
    """Eight trickled ones stopped all."""
    held = [Held(GOOD) for _ in range(4)]
    async with service(
        api_settings, token, upload_parallel_count=1, body_wait_seconds=PATIENCE_SECONDS
    ) as http:
        statuses = []

        async def send(body):
            answer = await http.post("/api/v1/traces", content=body)
            statuses.append(answer.status_code)

        async with anyio.create_task_group() as tasks:
            for body in held:
                tasks.start_soon(send, body)
            for body in held:
                await body.begun.wait()
            with anyio.fail_after(PATIENCE_SECONDS):
                other = trace_bytes(name="another")
                assert (await http.post("/api/v1/traces", content=other)).status_code == 201
            assert statuses == []
            for body in held:
                body.may_end.set()
    assert sorted(statuses) == [200, 200, 200, 201]


async def test_one_credential_has_so_many_bodies_on_their_way_and_no_more(
    api_settings, rows, token
):
    held = [Held(GOOD) for _ in range(2)]
    other = rows.mint_token()
    async with (
        # A small body gets its place after a tenth of that.
        service(api_settings, token, body_count=16, body_wait_seconds=60) as http,
        anyio.create_task_group() as tasks,
    ):
        for body in held:
            tasks.start_soon(lambda body=body: http.post("/api/v1/traces", content=body))
        for body in held:
            await body.begun.wait()
        with anyio.fail_after(PATIENCE_SECONDS):
            while http.resources.bodies.coming_count < 2:  # noqa: ASYNC110  # nothing tells
                await anyio.sleep(0.01)
        third = Held(GOOD)
        refused = await http.post("/api/v1/traces", content=third)
        read = await http.get("/api/v1/traces")
        third.may_end.set()
        another = await http.post("/api/v1/traces", content=third, headers=bearer(other))
        for body in held:
            body.may_end.set()
    assert refused.status_code == 429
    assert refused.json()["type"] == "/problems/rate-limited"
    assert int(refused.headers["retry-after"]) > 0
    assert read.status_code == 200
    assert another.status_code in {200, 201}


async def test_a_part_that_comes_too_slowly_keeps_what_came(api_settings, rows, token):
    async with service(api_settings, token, body_wait_seconds=2) as http:
        begun = await http.post(UPLOADS, headers=TUS | {"upload-length": str(len(GOOD))})
        place = begun.headers["location"]

        async def part():
            for start in range(0, 600, 100):
                yield GOOD[start : start + 100]
            await anyio.sleep_forever()

        headers = TUS | {"upload-offset": "0", "content-type": "application/offset+octet-stream"}
        answer = await http.patch(place, content=part(), headers=headers)
        told = (await http.get(place)).json()
    assert answer.status_code == 408
    assert told["offset_bytes"] == 600


def test_hundreds_of_bodies_of_one_byte_leave_the_service_to_others(
    api_settings, rows, token, tmp_path
):
    """A real server, and connections that say they send two bytes and send one."""
    server = Server(api_settings, tmp_path / "server.log", REFAULT_BODY_WAIT_SECONDS="5")
    head = (
        b"POST /api/v1/sessions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{"
    )
    address = httpx.URL(server.address)
    try:
        server.wait_until_it_answers()
        with contextlib.ExitStack() as held:
            sockets = [
                held.enter_context(socket.create_connection((address.host, address.port)))
                for _ in range(300)
            ]
            for each in sockets:
                each.sendall(head)
            with httpx.Client(
                base_url=server.address,
                trust_env=False,
                timeout=PATIENCE_SECONDS,
                headers=bearer(token),
            ) as http:
                assert http.get("/healthz").status_code == 200
                assert http.get("/api/v1/traces").status_code == 200
                assert http.post("/api/v1/traces", content=GOOD).status_code == 201
            statuses = set()
            for each in sockets:
                each.settimeout(PATIENCE_SECONDS)
                statuses.add(int(each.recv(65536).split()[1]))
                while each.recv(65536):  # until the server closes it
                    pass
    finally:
        server.stop()
    assert statuses <= {408, 429}


def test_bodies_that_come_with_their_head_take_no_place(api_settings, rows, token, tmp_path):
    """Four places for each credential, and forty small requests at once: none is refused."""
    server = Server(
        api_settings,
        tmp_path / "server.log",
        REFAULT_BODY_COUNT="32",
        REFAULT_BODY_WAIT_SECONDS=str(PATIENCE_SECONDS),
    )
    try:
        server.wait_until_it_answers()
        with (
            httpx.Client(
                base_url=server.address,
                trust_env=False,
                timeout=PATIENCE_SECONDS,
                headers=bearer(token),
            ) as http,
            ThreadPoolExecutor(40) as threads,
        ):
            body = {"name": "none", "patches": []}
            answers = threads.map(lambda _: http.post("/api/v1/patch_sets", json=body), range(120))
            statuses = {answer.status_code for answer in answers}
    finally:
        server.stop()
    assert statuses <= {200, 201}
