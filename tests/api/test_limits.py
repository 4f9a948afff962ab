"""Quotas of a project, and how often it may ask."""

import pytest

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
        # So many, because a minute may end in between.
        answers = [await http.get(TRACES) for _ in range(8)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 2
    for answer in refused:
        assert 1 <= int(answer.headers["retry-after"]) <= 61
        assert answer.json()["type"] == "/problems/rate-limited"
    assert {answer.status_code for answer in answers} == {200, 429}


async def test_one_token_does_not_use_up_what_another_may(site, rows):
    project = rows.add_project("small", requests_per_minute=2)
    tokens = [rows.mint_token(project=project) for _ in range(2)]
    async with in_process(site, tokens[0]) as first, in_process(site, tokens[1]) as second:
        for _ in range(6):
            await first.get(TRACES)
        assert (await second.get(TRACES)).status_code == 200
