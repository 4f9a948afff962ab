"""Quotas of a project, and how often it may ask."""

import hashlib

import anyio
import pytest
import sqlalchemy as sa

from db import session
from db.models import Project
from services.api.app import create_api
from services.api.site import Site
from tests.api.test_resumable import TUS, UPLOADS, begin, metadata, send
from tests.fixtures.api import SERIES, in_process, trace_bytes

pytestmark = pytest.mark.anyio

TRACES = "/api/v1/traces"


@pytest.fixture
def small(rows):
    """Makes a token of a new project with these quotas."""

    def made(**quotas):
        return rows.mint_token(project=rows.add_project("small", **quotas))

    return made


async def upload(http, name):
    return await http.post(TRACES, content=trace_bytes(name=name))


async def test_a_trace_too_many_is_refused_and_nothing_of_it_stays(site, rows, small):
    async with in_process(site, small(quota_traces=2)) as http:
        taken = [(await upload(http, name)).status_code for name in ("one", "two", "one", "three")]
        again = await upload(http, "two")
        listed = (await http.get(TRACES)).json()["items"]
    assert taken == [201, 201, 200, 507]
    assert again.status_code == 200
    assert len(listed) == 2
    assert len(rows.files()) == 2


async def test_bytes_too_many_are_refused_with_both_numbers(site, rows, small):
    room = len(trace_bytes(name="one")) + 10
    async with in_process(site, small(quota_bytes=room)) as http:
        assert (await upload(http, "one")).status_code == 201
        refused = await upload(http, "two")
    assert refused.status_code == 507
    assert refused.json()["type"] == "/problems/quota-exceeded"
    assert str(room) in refused.json()["detail"]
    assert len(rows.files()) == 1


async def put(http, data, **given):
    return await http.put(
        f"/api/v1/blobs/{hashlib.sha256(data).hexdigest()}", content=data, **given
    )


async def test_a_blob_put_over_the_quota_is_refused_and_nothing_of_it_stays(site, rows, small):
    one, two = trace_bytes(name="one"), trace_bytes(name="two")
    async with in_process(site, small(quota_bytes=len(one) + 10)) as http:
        assert (await put(http, one)).status_code == 201
        refused = await put(http, two)
        # With no Content-Length, as a pipe is sent.
        streamed = await put(http, two, headers={"transfer-encoding": "chunked"})
        again = await put(http, one)
        listed = (await http.get(TRACES)).json()["items"]
    assert (refused.status_code, streamed.status_code, again.status_code) == (507, 507, 200)
    assert refused.json()["type"] == "/problems/quota-exceeded"
    assert (
        f"the project's traces, trees and kernels have {len(one)} bytes; {len(two)} more"
        in refused.json()["detail"]
    )
    assert [entry["name"] for entry in listed] == ["one"]
    assert [path.name for path in rows.files()] == [hashlib.sha256(one).hexdigest()]


async def test_what_cannot_fit_is_refused_before_its_first_byte(site, small):
    data = trace_bytes(name="one")
    read = []

    async def body():
        read.append(True)
        yield data

    async with in_process(site, small(quota_bytes=len(data) - 1)) as http:
        headers = {"content-length": str(len(data))}
        refused = await http.post(TRACES, content=body(), headers=headers)
    assert (refused.status_code, read) == (507, [])
    assert refused.json()["type"] == "/problems/quota-exceeded"


@pytest.mark.parametrize("quota", ["bytes", "traces"])
async def test_a_resumable_upload_over_the_quota_is_refused_before_its_first_byte(
    site, rows, small, quota
):
    one, two = trace_bytes(name="one"), trace_bytes(name="two")
    quotas = {"quota_bytes": len(one) + 10} if quota == "bytes" else {"quota_traces": 1}
    async with in_process(site, small(**quotas)) as http:
        assert (await put(http, one)).status_code == 201
        refused = await http.post(UPLOADS, headers=TUS | {"upload-length": str(len(two))})
        listed = (await http.get(UPLOADS)).json()["items"]
    assert refused.status_code == 507
    assert refused.json()["type"] == "/problems/quota-exceeded"
    assert listed == []
    assert len(rows.files()) == 1


async def test_a_resumable_upload_whose_room_was_taken_meanwhile_leaves_nothing(site, rows, small):
    one, two = trace_bytes(name="one"), trace_bytes(name="two")
    async with in_process(site, small(quota_traces=2)) as http:
        place = await begin(http, two)
        assert (await send(http, place, 0, two[:1000])).status_code == 204
        assert (await put(http, one)).status_code == 201
        with session.transaction(rows.engine) as opened:
            opened.execute(sa.update(Project).values(quota_traces=1))
        refused = await send(http, place, 1000, two[1000:])
        after = await http.head(place, headers=TUS)
        told = (await http.get(place)).json()
        listed = (await http.get(TRACES)).json()["items"]
        open_ones = (await http.get(UPLOADS)).json()["items"]
    assert refused.status_code == 507
    assert refused.json()["type"] == "/problems/quota-exceeded"
    assert (after.status_code, told["state"]) == (410, "refused")
    assert "may have 1" in told["error"]
    assert [entry["name"] for entry in listed] == ["one"]
    assert open_ones == []
    assert [path.name for path in rows.files()] == [hashlib.sha256(one).hexdigest()]


async def test_uploads_that_are_never_finished_take_no_more_than_the_quota(site, rows, small):
    """Each was measured alone once, and all together had any room."""
    data = trace_bytes(name="one")
    async with in_process(site, small(quota_bytes=2 * len(data))) as http:
        places = [await begin(http, data) for _ in range(2)]
        third = await http.post(UPLOADS, headers=TUS | {"upload-length": str(len(data))})
        assert (await http.delete(places[0], headers=TUS)).status_code == 204
        assert (await send(http, places[1], 0, data)).status_code == 204
        await begin(http, data)
    assert third.status_code == 507
    assert f"and {2 * len(data)} unfinished" in third.json()["detail"]


async def test_a_trace_that_is_there_takes_no_further_room_in_parts(site, rows, small):
    data = trace_bytes(name="one")
    digest = hashlib.sha256(data).hexdigest()
    async with in_process(site, small(quota_traces=1)) as http:
        assert (await put(http, data)).status_code == 201
        place = await begin(http, data, upload_metadata=metadata(sha256=digest))
        assert (await send(http, place, 0, data)).status_code == 204
    assert len(rows.files()) == 1


async def test_the_digest_of_a_small_trace_opens_no_large_upload(site, rows, small):
    """Whoever announced a digest that is here was asked for no room, whatever the length."""
    data = trace_bytes(name="one")
    digest = hashlib.sha256(data).hexdigest()
    large = str(10 * len(data))
    async with in_process(site, small(quota_bytes=2 * len(data))) as http:
        assert (await put(http, data)).status_code == 201
        given = TUS | {"upload-metadata": metadata(sha256=digest)}
        refused = await http.post(UPLOADS, headers=given | {"upload-length": large})
        whole = await http.put(
            f"/api/v1/blobs/{digest}", content=endless(), headers={"content-length": large}
        )
        taken = await http.post(UPLOADS, headers=given | {"upload-length": str(len(data))})
        listed = (await http.get(UPLOADS)).json()["items"]
    assert (refused.status_code, whole.status_code, taken.status_code) == (422, 422, 201)
    assert refused.json()["type"] == "/problems/digest-mismatch"
    assert f"has {len(data)} bytes; the sender announced {large}" in refused.json()["detail"]
    assert len(listed) == 1


async def test_a_trace_that_is_here_comes_in_parts_many_times_only_where_there_is_room(
    site, rows, small
):
    data = trace_bytes(name="one")
    given = TUS | {
        "upload-length": str(len(data)),
        "upload-metadata": metadata(sha256=hashlib.sha256(data).hexdigest()),
    }
    async with in_process(site, small(quota_bytes=2 * len(data))) as http:
        assert (await put(http, data)).status_code == 201
        first, second = [await http.post(UPLOADS, headers=given) for _ in range(2)]
        assert (await http.delete(first.headers["location"], headers=TUS)).status_code == 204
        third = await http.post(UPLOADS, headers=given)
    assert (first.status_code, second.status_code, third.status_code) == (201, 507, 201)
    assert second.json()["type"] == "/problems/quota-exceeded"


async def test_open_uploads_of_a_project_are_bounded_also_those_of_a_trace_that_is_here(
    api_settings, rows, small
):
    data = trace_bytes(name="one")
    api = create_api(api_settings.model_copy(update={"upload_open_count": 2}))
    async with in_process(Site(api, None), small()) as http:
        assert (await put(http, data)).status_code == 201
        given = TUS | {
            "upload-length": str(len(data)),
            "upload-metadata": metadata(sha256=hashlib.sha256(data).hexdigest()),
        }
        answers = [await http.post(UPLOADS, headers=given) for _ in range(3)]
        assert (await http.delete(answers[0].headers["location"], headers=TUS)).status_code == 204
        again = await http.post(UPLOADS, headers=given)
    api.state.resources.close()
    assert [answer.status_code for answer in answers] == [201, 201, 507]
    assert "has 2 unfinished uploads" in answers[2].json()["detail"]
    assert again.status_code == 201


async def endless():
    while True:
        yield bytes(1000)


async def test_an_upload_of_unknown_length_is_refused_where_the_room_ends(site, rows, small):
    """It was taken whole, up to the limit of the service, and then measured."""
    data = trace_bytes(name="one", event_count=50_000)

    async def chunks():
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    async with in_process(site, small(quota_bytes=2000)) as http:
        refused = await http.post(TRACES, content=chunks())
    assert refused.status_code == 507
    assert refused.json()["type"] == "/problems/quota-exceeded"
    assert "room for 2000 bytes" in refused.json()["detail"]
    assert rows.files() == []


async def test_uploads_of_one_request_that_are_on_their_way_count(site, rows, small):
    data = trace_bytes(name="one")
    other = trace_bytes(name="other")
    begun, may_end = anyio.Event(), anyio.Event()
    answers = []

    async def slow():
        yield data[:100]
        begun.set()
        await may_end.wait()
        yield data[100:]

    async with in_process(site, small(quota_bytes=len(data) + 10)) as http:

        async def send_slowly():
            headers = {"content-length": str(len(data))}
            answers.append(await http.post(TRACES, content=slow(), headers=headers))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_slowly)
            await begun.wait()
            refused = await upload(http, "other")
            in_parts = await http.post(UPLOADS, headers=TUS | {"upload-length": str(len(other))})
            may_end.set()
    assert answers[0].status_code == 201
    assert (refused.status_code, in_parts.status_code) == (507, 507)
    assert f"and {len(data)} unfinished" in refused.json()["detail"]


async def test_runs_too_many_are_refused_and_none_is_queued(site, rows, small):
    rows.register_simulator()
    async with in_process(site, small(quota_queued_runs=4)) as http:
        digest = (await upload(http, "one")).json()["digest"]
        row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
        body = {"traces": [digest], "patch_sets": [row["id"]]}
        # The series has five prefixes and so five runs; one by itself is one.
        refused = await http.post("/api/v1/batches", json=body | {"plan": "series"})
        taken = await http.post("/api/v1/batches", json=body | {"plan": "each"})
        listed = (await http.get("/api/v1/batches")).json()["items"]
    assert (refused.status_code, taken.status_code) == (507, 201)
    assert [entry["code"] for entry in listed] == [taken.json()["code"]]


async def test_the_quota_of_one_project_is_not_anothers(site, http, small):
    async with in_process(site, small(quota_traces=1)) as other:
        assert (await upload(http, "one")).status_code == 201
        assert (await upload(http, "two")).status_code == 201
        assert (await upload(other, "one")).status_code == 201
        assert (await upload(other, "two")).status_code == 507


async def test_requests_too_many_wait_as_long_as_they_are_told(site, rows, small):
    async with in_process(site, small(requests_per_minute=3)) as http:
        answers = [await http.get(TRACES) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    for answer in answers[3:]:
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.json()["type"] == "/problems/rate-limited"


async def test_one_token_does_not_use_up_what_another_may(site, rows):
    project = rows.add_project("small", requests_per_minute=2)
    tokens = [rows.mint_token(project=project) for _ in range(2)]
    async with in_process(site, tokens[0]) as first, in_process(site, tokens[1]) as second:
        for _ in range(6):
            await first.get(TRACES)
        assert (await second.get(TRACES)).status_code == 200


async def test_what_is_used_is_told_beside_each_quota(site, rows, small):
    size = len(trace_bytes(name="one"))
    async with in_process(site, small(quota_traces=2, quota_bytes=3 * size)) as http:
        assert (await upload(http, "one")).status_code == 201
        await begin(http, b"x" * 100)
        found = (await http.get("/api/v1/usage")).json()
    assert found["traces"] == {"used": 1, "unfinished": 1, "quota": 2}
    assert found["bytes"] == {"used": size, "unfinished": 100, "quota": 3 * size}
    assert found["queued_runs"] == {"used": 0, "unfinished": 0, "quota": None}
