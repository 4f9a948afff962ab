import base64
import hashlib
import shutil
import zlib
from contextlib import asynccontextmanager

import anyio
import httpx
import msgpack
import pytest
import zstandard

from db.repositories import traces
from db.session import create_engine
from refault.trace import EventKind, TraceHeader
from refault.trace.encoding import take_apart
from refault.trace.format import TAG_BLOCK, TAG_HEADER
from refault.trace.frames import frame, preamble
from refault.trace.header import pack_header
from services.api.app import create_api
from services.api.settings import GIB
from services.api.site import Site
from tests.builders import transaction
from tests.fixtures.api import RAM, Rows, block, in_process, trace_bytes
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

TRACES = "/api/v1/traces"


def content_digest(data):
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


async def slowly(data, size=1000):
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def test_an_upload_gives_a_row_and_a_file_of_the_same_bytes(http, rows):
    data = trace_bytes(name="boot")

    answer = await http.post(TRACES, content=slowly(data))

    assert answer.status_code == 201
    trace = answer.json()
    assert trace["digest"] == hashlib.sha256(data).hexdigest()
    assert trace["name"] == "boot"
    assert trace["event_count"] == 2000
    assert trace["events_by_kind"] == {"ACCESS": 2000}
    assert answer.headers["location"] == f"{TRACES}/{trace['id']}"
    (file,) = rows.files()
    assert file.read_bytes() == data


async def test_the_same_file_again_is_answered_with_the_trace_that_is_there(http, rows):
    data = trace_bytes()
    first = await http.post(TRACES, content=data)

    second = await http.post(TRACES, content=data, params={"name": "another name"})

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()
    assert len(rows.files()) == 1


async def test_many_uploads_of_one_file_at_once_give_one_trace(http, rows):
    data = trace_bytes()
    answers = []

    async def upload():
        answers.append(await http.post(TRACES, content=slowly(data)))

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(upload)

    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(rows.files()) == 1


async def test_a_blob_is_known_once_its_trace_was_uploaded(http):
    data = trace_bytes()
    path = f"/api/v1/blobs/{hashlib.sha256(data).hexdigest()}"

    before = await http.head(path)
    await http.post(TRACES, content=data)
    after = await http.head(path)

    assert (before.status_code, after.status_code) == (404, 200)


def flipped(data, place):
    changed = bytearray(data)
    changed[place] ^= 0x10
    return bytes(changed)


def sealed(head):
    return head + zlib.crc32(head).to_bytes(4, "little")


def with_block(header, events):
    return with_body(take_apart(events).packed(1), header)


def with_body(body, header=None):
    """A trace up to its first block, which has this body."""
    return preamble() + frame(TAG_HEADER, pack_header(header or CAPTURE)) + frame(TAG_BLOCK, body)


def bomb():
    """A block of ten events whose few bytes inflate to a gigabyte."""
    body = msgpack.unpackb(take_apart(block(EventKind.ACCESS, 10)).packed(1))
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True).compressobj(size=GIB)
    mebibyte = bytes(1 << 20)
    parts = [compressor.compress(mebibyte) for _ in range(1024)]
    body["streams"] = b"".join([*parts, compressor.flush()])
    return msgpack.packb(body)


CAPTURE = TraceHeader("capture", "made", "long", 1, slots=(RAM,))
GOOD = trace_bytes()
BAD_TRACES = {
    "nothing at all": (b"", "not-a-trace"),
    "another file": (b"\x7fELF" + bytes(5000), "not-a-trace"),
    "another version": (
        sealed(GOOD[:8] + b"\x03\x00" + GOOD[10:12]) + GOOD[16:],
        "unsupported-trace-version",
    ),
    "a bit flipped in the preamble": (flipped(GOOD, 13), "trace-corrupt"),
    "a bit flipped in the header": (flipped(GOOD, 60), "trace-corrupt"),
    "a bit flipped in a block": (flipped(GOOD, len(GOOD) // 2), "trace-corrupt"),
    "a bit flipped in the index": (flipped(GOOD, len(GOOD) - 60), "trace-corrupt"),
    "a bit flipped in the trailer": (flipped(GOOD, len(GOOD) - 3), "trace-corrupt"),
    "cut in the preamble": (GOOD[:9], "not-a-trace"),
    "cut in a block": (GOOD[: len(GOOD) // 2], "trace-truncated"),
    "cut before the trailer": (GOOD[:-16], "trace-truncated"),
    "more bytes after the end": (GOOD + b"\0", "trace-corrupt"),
    "a header that says it is a gigabyte": (
        preamble() + frame(TAG_HEADER, bytes(2 << 20)),
        "trace-out-of-bounds",
    ),
    "a block that inflates": (with_body(bomb()), "trace-corrupt", "bytes"),
    "an event of an unknown kind": (
        with_block(CAPTURE, block(200, 10)),
        "trace-corrupt",
        "unknown kind 200",
    ),
    "a guest table outside the guest's memory": (
        with_block(CAPTURE, block(EventKind.TABLE_STORE, 10, aux=0x13, a=1 << 30)),
        "trace-corrupt",
        "outside the guest's memory",
    ),
    "an event of a vCPU that is not there": (
        with_block(CAPTURE, block(EventKind.ACCESS, 10, vcpu=5)),
        "trace-corrupt",
        "the header has 1 vCPUs",
    ),
}


@pytest.mark.parametrize("name", BAD_TRACES)
async def test_a_bad_trace_is_refused_at_its_byte_and_nothing_stays_behind(http, rows, name):
    data, kind, *words = BAD_TRACES[name]

    answer = await http.post(TRACES, content=slowly(data))

    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"/problems/{kind}"
    assert 0 <= problem["offset"] <= len(data)
    assert f"byte {problem['offset']}: " in problem["detail"]
    assert all(word in problem["detail"] for word in words)
    assert rows.nothing_is_left()


async def test_a_bad_trace_is_refused_before_the_rest_of_it_is_read(http):
    sent = []

    async def endless():
        yield flipped(GOOD, 60)
        while True:
            sent.append(1)
            yield bytes(100_000)

    answer = await http.post(TRACES, content=endless())

    assert answer.status_code == 422
    assert not sent


@pytest.mark.parametrize("name", ["a\0b", "n" * 201])
async def test_a_name_that_cannot_be_stored_is_refused(http, rows, name):
    answer = await http.post(TRACES, content=trace_bytes(), params={"name": name})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "name"
    assert rows.nothing_is_left()


async def test_bytes_that_changed_on_the_way_are_refused(http, rows):
    answer = await http.post(
        TRACES, content=GOOD, headers={"content-digest": content_digest(GOOD + b"other")}
    )

    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/digest-mismatch"
    assert hashlib.sha256(GOOD).hexdigest() in answer.json()["detail"]
    assert rows.nothing_is_left()


async def test_bytes_that_arrived_as_announced_are_kept(http):
    digests = f"sha-512=:AAAA:, {content_digest(GOOD)}"

    answer = await http.post(TRACES, content=GOOD, headers={"content-digest": digests})

    assert answer.status_code == 201


@pytest.mark.parametrize("header", ["sha-256=:AAAA:", "sha-256=nonsense", "sha-256=:=:"])
async def test_a_digest_header_that_cannot_be_read_is_refused(http, rows, header):
    answer = await http.post(TRACES, content=GOOD, headers={"content-digest": header})

    assert answer.status_code == 422
    assert "Content-Digest" in answer.json()["detail"]
    assert rows.nothing_is_left()


@asynccontextmanager
async def service(settings, **changed):
    api = create_api(settings.model_copy(update=changed))
    # The changed settings may lead to no database.
    engine = create_engine(settings.database_url, pool_size=1)
    token = Rows(engine, settings.blobs).mint_token()
    engine.dispose()
    async with in_process(Site(api, None), token) as http:
        yield http
    api.state.resources.close()


@pytest.mark.parametrize("is_announced", [True, False])
async def test_an_upload_over_the_limit_is_refused(api_settings, rows, is_announced):
    limit = len(GOOD) - 1
    async with service(api_settings, upload_limit_bytes=limit) as http:
        answer = await http.post(TRACES, content=GOOD if is_announced else slowly(GOOD))

    assert answer.status_code == 413
    assert answer.json()["type"] == "/problems/upload-too-large"
    assert str(limit) in answer.json()["detail"]
    assert rows.nothing_is_left()


async def test_an_upload_of_exactly_the_limit_is_taken(api_settings, rows):
    async with service(api_settings, upload_limit_bytes=len(GOOD)) as http:
        answer = await http.post(TRACES, content=slowly(GOOD))

    assert answer.status_code == 201
    assert api_settings.upload_limit_bytes == 4 * GIB


async def test_an_upload_that_stops_coming_is_refused(api_settings, rows):

    async def stalled():
        yield GOOD[:1000]
        await anyio.sleep(30)

    async with service(api_settings, body_wait_seconds=0.05) as http:
        answer = await http.post(TRACES, content=stalled())

    assert answer.status_code == 408
    assert "1000 bytes in" in answer.json()["detail"]
    assert rows.nothing_is_left()


async def test_a_client_that_goes_away_leaves_nothing_behind(site, rows):
    messages = [
        {"type": "http.request", "body": GOOD[: len(GOOD) // 2], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive():
        if len(messages) == 1:
            # The first half is being checked: it must be on disk by now, or the test shows nothing.
            with anyio.fail_after(PATIENCE_SECONDS):
                while not rows.files():  # noqa: ASYNC110 - a file appears, nobody tells us
                    await anyio.sleep(0.01)
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": TRACES,
        "raw_path": TRACES.encode(),
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("refault.test", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    await site(scope, receive, send)

    assert rows.nothing_is_left()


async def test_a_folder_that_cannot_be_written_is_a_503_and_leaves_no_row(http, rows):
    shutil.rmtree(rows.blobs)
    rows.blobs.write_text("a file where the folder was")

    answer = await http.post(TRACES, content=GOOD)

    assert answer.status_code == 503
    assert "nothing was kept" in answer.json()["detail"]
    rows.blobs.unlink()
    assert rows.nothing_is_left()


async def test_a_file_that_cannot_be_put_in_place_leaves_no_row(http, rows):
    # The folder the file belongs in cannot be made.
    (rows.blobs / hashlib.sha256(GOOD).hexdigest()[:2]).write_text("in the way")

    answer = await http.post(TRACES, content=GOOD)

    assert answer.status_code == 503
    with transaction(rows.engine) as session:
        assert not traces.list_page(session).rows
    assert [file.name for file in rows.files()] == [hashlib.sha256(GOOD).hexdigest()[:2]]


async def test_an_upload_without_a_database_leaves_no_file(api_settings, rows):
    async with service(api_settings, database_url="postgresql://nobody@127.0.0.1:1/none") as http:
        answer = await http.post(TRACES, content=GOOD)

    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/unavailable"
    assert "nobody" not in answer.text
    assert rows.nothing_is_left()


async def test_other_requests_are_answered_while_an_upload_waits(http):
    others_answered = anyio.Event()

    async def waiting():
        yield GOOD[:500]
        with anyio.fail_after(PATIENCE_SECONDS):
            await others_answered.wait()
        yield GOOD[500:]

    answers = []

    async def upload():
        answers.append(await http.post(TRACES, content=waiting()))

    async with anyio.create_task_group() as group:
        group.start_soon(upload)
        for _ in range(3):
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.get(TRACES)).status_code == 200
        others_answered.set()

    assert answers[0].status_code == 201


async def test_uploads_take_turns_once_all_slots_are_taken(api_settings, rows):
    data = [trace_bytes(name=f"made {number}") for number in range(3)]
    answers: list[httpx.Response] = []

    async def upload(http, body):
        answers.append(await http.post(TRACES, content=slowly(body)))

    one_slot = service(api_settings, upload_parallel_count=1)
    async with one_slot as http, anyio.create_task_group() as group:
        for body in data:
            group.start_soon(upload, http, body)

    assert [answer.status_code for answer in answers] == [201] * 3
