"""The protocol tus 1.0, header by header; real clients are in test_tus_clients.py."""

import base64
import hashlib
import uuid
from contextlib import asynccontextmanager

import anyio
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from db.models import Upload
from db.session import transaction
from refault.trace import TraceValidator
from services.api import housekeeping
from services.api.app import create_api
from services.api.site import Site
from tests.api.test_uploads import GOOD, flipped, slowly
from tests.fixtures.api import in_process, trace_bytes
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

UPLOADS = "/api/v1/uploads"
TUS = {"tus-resumable": "1.0.0"}
PART = TUS | {"content-type": "application/offset+octet-stream"}
DIGEST = hashlib.sha256(GOOD).hexdigest()


def b64(value):
    return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()


def metadata(**values):
    return ",".join(f"{key} {b64(value)}" for key, value in values.items())


async def begin(http, data=GOOD, **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await http.post(UPLOADS, headers=TUS | {"upload-length": str(len(data))} | given)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


async def send(http, place, offset, data, **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.patch(
        place, headers=PART | {"upload-offset": str(offset)} | given, content=data
    )


async def offset_of(http, place):
    answer = await http.head(place, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


@asynccontextmanager
async def service(api_settings, token, **changed):
    api = create_api(api_settings.model_copy(update=changed))
    async with in_process(Site(api, None), token) as http:
        yield http
    api.state.resources.close()


async def test_the_service_says_what_it_speaks(http):
    answer = await http.options(UPLOADS)

    assert answer.status_code == 204
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    assert set(answer.headers["tus-extension"].split(",")) == {
        "creation",
        "creation-with-upload",
        "checksum",
        "expiration",
        "termination",
    }
    assert answer.headers["tus-max-size"] == str(4 * 1024**3)
    assert "sha1" in answer.headers["tus-checksum-algorithm"].split(",")


async def test_parts_become_a_trace_with_what_was_wished(http, rows):
    place = await begin(
        http, upload_metadata=metadata(name="boot", tags="a b:c", note="of today", sha256=DIGEST)
    )
    first = await send(http, place, 0, GOOD[:1000])
    last = await send(http, place, 1000, slowly(GOOD[1000:]))

    assert (first.status_code, first.headers["upload-offset"]) == (204, "1000")
    assert "GMT" in first.headers["upload-expires"]
    assert (last.status_code, last.headers["upload-offset"]) == (204, str(len(GOOD)))
    trace = (await http.get(f"/api/v1/traces/{last.headers['refault-trace']}")).json()
    assert trace["digest"] == DIGEST
    assert (trace["name"], trace["tags"], trace["note"]) == ("boot", ["a", "b:c"], "of today")
    (file,) = rows.files()
    assert file.read_bytes() == GOOD


async def test_the_first_bytes_may_come_with_the_creation(http):
    length = {"upload-length": str(len(GOOD))}
    part = await http.post(UPLOADS, headers=PART | length, content=GOOD[:700])
    whole = await http.post(UPLOADS, headers=PART | length, content=GOOD)

    assert (part.status_code, part.headers["upload-offset"]) == (201, "700")
    assert whole.headers["upload-offset"] == str(len(GOOD))
    assert "refault-trace" in whole.headers
    assert (await send(http, part.headers["location"], 700, GOOD[700:])).status_code == 204


async def test_a_done_upload_still_says_so_and_takes_nothing_more(http):
    place = await begin(http)
    await send(http, place, 0, GOOD)

    assert await offset_of(http, place) == len(GOOD)
    assert (await send(http, place, len(GOOD), b"")).status_code == 204
    assert (await send(http, place, len(GOOD), b"x")).status_code == 413
    assert (await http.get(place)).json()["state"] == "done"


@pytest.mark.parametrize(
    ("status", "kind", "headers"),
    [
        (409, "wrong-offset", {"upload-offset": "5"}),
        (400, "upload-header-invalid", {"upload-offset": "-1"}),
        (400, "upload-header-invalid", {"upload-offset": "x"}),
        (412, "protocol-mismatch", {"tus-resumable": "0.2.2"}),
        (415, "unsupported-media-type", {"content-type": "application/octet-stream"}),
        (400, "upload-header-invalid", {"upload-checksum": "crc32 AAAA"}),
        (400, "upload-header-invalid", {"upload-checksum": "sha1 !"}),
        (460, "checksum-mismatch", {"upload-checksum": f"sha1 {b64(b'x' * 20)}"}),
    ],
)
async def test_a_part_that_says_what_cannot_be_is_refused_and_changes_nothing(
    http, status, kind, headers
):
    place = await begin(http)
    await send(http, place, 0, GOOD[:100])
    given = PART | {"upload-offset": "100"} | headers

    answer = await http.patch(place, headers=given, content=GOOD[100:200])

    assert answer.status_code == status
    assert answer.json()["type"] == f"/problems/{kind}"
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert await offset_of(http, place) == 100
    assert (await send(http, place, 100, GOOD[100:])).status_code == 204


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (412, {"tus-resumable": "2.0.0", "upload-length": "100"}),
        (400, {}),
        (400, {"upload-length": "9" * 30}),
        (400, {"upload-length": "0x10"}),
        (400, {"upload-defer-length": "1"}),
        (400, {"upload-length": "100", "upload-metadata": "name !!"}),
        (400, {"upload-length": "100", "upload-metadata": f"sha256 {b64('no digest')}"}),
        (422, {"upload-length": "100", "upload-metadata": f"name {b64('n' * 201)}"}),
        (413, {"upload-length": str(4 * 1024**3 + 1)}),
        (422, {"upload-length": "0"}),
    ],
)
async def test_an_upload_that_cannot_be_is_not_begun(http, rows, status, headers):
    answer = await http.post(UPLOADS, headers=TUS | headers)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await http.get(UPLOADS)).json()["items"] == []
    assert rows.nothing_is_left()


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
async def test_a_part_with_its_checksum_is_taken(http, algorithm):
    place = await begin(http)
    for start, stop in ((0, 900), (900, len(GOOD))):
        summed = hashlib.new(algorithm, GOOD[start:stop]).digest()
        checksum = f"{algorithm} {b64(summed)}"
        answer = await send(http, place, start, GOOD[start:stop], upload_checksum=checksum)
        assert answer.status_code == 204
    assert "refault-trace" in answer.headers


async def test_a_part_damaged_on_the_way_is_dropped_though_it_is_no_good_trace(http):
    place = await begin(http)
    checksum = f"sha256 {b64(hashlib.sha256(GOOD).digest())}"

    damaged = await send(http, place, 0, flipped(GOOD, 60), upload_checksum=checksum)
    mended = await send(http, place, 0, GOOD, upload_checksum=checksum)

    assert (damaged.status_code, mended.status_code) == (460, 204)


async def test_a_bad_trace_is_refused_at_its_byte_and_the_upload_is_over(http, rows):
    data = flipped(GOOD, len(GOOD) // 2)
    place = await begin(http, data)
    await send(http, place, 0, data[:300])

    answer = await send(http, place, 300, slowly(data[300:]))

    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/trace-corrupt"
    assert 300 < answer.json()["offset"] <= len(data) // 2
    gone = await http.head(place, headers=TUS)
    again = await send(http, place, 300, data[300:])
    assert (gone.status_code, again.status_code) == (410, 410)
    assert answer.json()["detail"] in again.json()["detail"]
    assert (await http.get(place)).json()["error_offset"] == answer.json()["offset"]
    assert rows.nothing_is_left()


async def test_bad_bytes_a_killed_server_had_counted_end_the_upload_when_they_are_read_again(
    http, rows
):
    data = flipped(GOOD, len(GOOD) // 2)
    place = await begin(http, data)
    # Counted as safe with a block that was still being checked when the server died.
    (file,) = rows.files()
    file.write_bytes(data[:-20])
    with transaction(rows.engine) as session:
        session.execute(sa.update(Upload).values(offset_bytes=len(data) - 20))

    answer = await send(http, place, len(data) - 20, data[-20:])

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/trace-corrupt")
    assert (await http.head(place, headers=TUS)).status_code == 410
    assert rows.nothing_is_left()


async def test_a_trace_that_ends_too_early_is_refused_with_its_last_byte(http, rows):
    data = GOOD[:-16]
    place = await begin(http, data)

    answer = await send(http, place, 0, data)

    assert answer.json()["type"] == "/problems/trace-truncated"
    assert rows.nothing_is_left()


async def test_another_file_than_announced_is_refused(http, rows):
    place = await begin(http, upload_metadata=metadata(sha256="0" * 64))

    answer = await send(http, place, 0, GOOD)

    assert answer.json()["type"] == "/problems/digest-mismatch"
    assert rows.nothing_is_left()


@pytest.mark.parametrize("is_announced", [True, False])
async def test_more_bytes_than_the_length_are_refused(http, is_announced):
    place = await begin(http, GOOD[:-1])
    body = GOOD if is_announced else slowly(GOOD)

    answer = await send(http, place, 0, body)

    assert answer.status_code == 413


async def test_of_two_parts_at_once_one_is_told_to_wait(http):
    place = await begin(http)
    first_writes, second_answered = anyio.Event(), anyio.Event()

    async def waiting():
        yield GOOD[:500]
        # The server asks for more, so it has the first bytes and holds the file.
        first_writes.set()
        await second_answered.wait()
        yield GOOD[500:]

    async def first():
        assert (await send(http, place, 0, waiting())).status_code == 204

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        with anyio.fail_after(PATIENCE_SECONDS):
            await first_writes.wait()
        answer = await send(http, place, 0, GOOD)
        ended = await http.delete(place, headers=TUS)
        second_answered.set()

    assert (answer.status_code, ended.status_code) == (423, 423)
    assert answer.json()["type"] == "/problems/upload-busy"
    assert await offset_of(http, place) == len(GOOD)


@pytest.mark.parametrize("through_post", [False, True])
async def test_an_upload_that_was_given_up_is_forgotten(http, rows, through_post):
    place = await begin(http)
    await send(http, place, 0, GOOD[:100])

    if through_post:
        answer = await http.post(place, headers=TUS | {"x-http-method-override": "DELETE"})
    else:
        answer = await http.delete(place, headers=TUS)

    assert answer.status_code == 204
    assert (await http.head(place, headers=TUS)).status_code == 404
    assert (await send(http, place, 100, GOOD[100:])).status_code == 404
    assert rows.nothing_is_left()


async def test_every_method_can_come_through_post(http):
    place = await begin(http)
    override = {"x-http-method-override": "PATCH", "upload-offset": "0"}
    taken = await http.post(place, headers=PART | override, content=GOOD)
    asked = await http.post(place, headers=TUS | {"x-http-method-override": "HEAD"})
    other = await http.post(place, headers=TUS | {"x-http-method-override": "PUT"})

    assert taken.status_code == 204
    assert asked.headers["upload-offset"] == str(len(GOOD))
    assert other.status_code == 405


async def test_an_upload_nobody_began_is_not_found(http):
    place = f"{UPLOADS}/{uuid.uuid4()}"

    for answer in (
        await http.head(place, headers=TUS),
        await send(http, place, 0, GOOD),
        await http.delete(place, headers=TUS),
    ):
        assert answer.status_code == 404
    assert (await http.head(f"{UPLOADS}/../traces", headers=TUS)).status_code in {404, 405}


def expire(rows):
    with transaction(rows.engine) as session:
        past = sa.func.now() - sa.text("interval '1 s'")
        session.execute(sa.update(Upload).values(expires_at=past))


async def test_an_expired_upload_is_gone_and_swept(site, http, rows):
    place = await begin(http)
    await send(http, place, 0, GOOD[:100])
    expire(rows)

    gone = await send(http, place, 100, GOOD[100:])
    housekeeping.tidy_up(site.api.state.resources)

    assert gone.status_code == 410
    assert (await http.head(place, headers=TUS)).status_code == 404
    assert rows.nothing_is_left()


async def test_the_sweep_leaves_living_uploads_and_removes_files_nobody_knows(site, http, rows):
    place = await begin(http)
    await send(http, place, 0, GOOD[:100])
    stray = rows.blobs / "partial" / str(uuid.uuid4())
    stray.write_bytes(b"of a row that is gone")

    housekeeping.tidy_up(site.api.state.resources)

    assert not stray.exists()
    assert (await send(http, place, 100, GOOD[100:])).status_code == 204


async def test_the_bytes_of_an_upload_that_were_lost_are_said_to_be(http, rows):
    place = await begin(http)
    await send(http, place, 0, GOOD[:100])
    (file,) = rows.files()
    file.write_bytes(GOOD[:50])

    assert (await http.head(place, headers=TUS)).status_code == 410
    assert "lost" in (await send(http, place, 100, GOOD[100:])).json()["detail"]


async def test_unfinished_uploads_are_found_by_the_file(http):
    place = await begin(http, upload_metadata=metadata(sha256=DIGEST))
    await begin(http, upload_metadata=metadata(sha256="0" * 64))

    found = (await http.get(UPLOADS, params={"digest": DIGEST})).json()["items"]

    assert [f"{UPLOADS}/{each['id']}" for each in found] == [place]


async def test_a_part_that_broke_off_goes_on_where_it_broke_also_in_another_process(
    api_settings, rows, token
):
    async def broken():
        yield GOOD[:600]
        await anyio.sleep(30)

    async with service(api_settings, token, body_wait_seconds=0.05) as http:
        place = await begin(http)
        answer = await send(http, place, 0, broken())
        assert answer.status_code == 408
        assert await offset_of(http, place) == 600
    # Another process has no validator of it, and reads what is there again.
    async with service(api_settings, token) as http:
        assert (await send(http, place, 600, GOOD[600:])).status_code == 204
    (file,) = rows.files()
    assert file.read_bytes() == GOOD


LONG = trace_bytes(event_count=40_000, name="long")


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, len(LONG)), max_size=6),
    breaks=st.lists(st.booleans(), min_size=7, max_size=7),
    restarts=st.lists(st.booleans(), min_size=7, max_size=7),
)
async def test_cut_anywhere_and_resumed_the_bytes_are_identical(
    api_settings, rows, token, cuts, breaks, restarts
):
    stops = [*sorted(cuts), len(LONG)]
    api = create_api(api_settings)
    async with in_process(Site(api, None), token) as http:
        place = await begin(http, LONG)
        for stop, breaks_off, is_restarted in zip(stops, breaks, restarts, strict=False):
            if is_restarted:
                api.state.resources.validators.drop(uuid.UUID(place.rpartition("/")[2]))
            offset = await offset_of(http, place)
            part = LONG[offset:stop]
            if breaks_off and part and stop < len(LONG):
                answer = await send(http, place, offset, breaking(part))
                assert answer.status_code == 400
            else:
                await send(http, place, offset, part)
            assert await offset_of(http, place) == stop
        digest = hashlib.sha256(LONG).hexdigest()
        assert (rows.blobs / digest[:2] / digest).read_bytes() == LONG
        assert (await http.get(place)).json()["state"] == "done"
    api.state.resources.close()


async def breaking(part):
    """A body whose sender goes away behind its last byte: what the server is told then."""
    yield part
    raise ClientDisconnect


async def test_parts_of_a_few_bytes_read_no_more_again_than_parts_of_many(
    api_settings, rows, token, monkeypatch
):
    """Two uploads that take turns, where one validator is kept: each part read all before it."""
    fed_bytes = []
    feed = TraceValidator.feed

    def counted(self, data):
        fed_bytes.append(len(data))
        feed(self, data)

    monkeypatch.setattr(TraceValidator, "feed", counted)
    async with service(api_settings, token, upload_parallel_count=1) as http:
        places = [await begin(http), await begin(http)]
        for start in range(0, len(GOOD), 20):
            for place in places:
                assert (await send(http, place, start, GOOD[start : start + 20])).status_code == 204
    assert sum(fed_bytes) <= 2 * 3 * len(GOOD)
    assert len(rows.files()) == 1


async def test_bytes_that_were_not_checked_in_their_part_are_checked_before_they_are_a_trace(
    api_settings, rows, token
):
    bad = GOOD[:-100] + bytes([GOOD[-100] ^ 1]) + GOOD[-99:]
    async with service(api_settings, token) as http:
        place = await begin(http, bad)
        assert (await send(http, place, 0, bad[:-200])).status_code == 204
    async with service(api_settings, token) as http:
        # No validator is kept here; this part has the wrong byte and crosses no doubling.
        first = await send(http, place, len(bad) - 200, bad[-200:-50])
        last = await send(http, place, len(bad) - 50, bad[-50:])
    assert {first.status_code, last.status_code} <= {204, 422, 410}
    assert 422 in {first.status_code, last.status_code}
    assert rows.nothing_is_left()
