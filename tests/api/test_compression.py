"""Answers are compressed where it is safe and worth it."""

import gzip

import httpx
import pytest

from services.api.compression import LEAST_BYTES
from services.dashboard.masks import masked, unmasked
from tests.fixtures.api import SERIES, bearer

pytestmark = pytest.mark.anyio


async def raw(http, path, **headers):
    async with http.stream("GET", path, headers=headers) as answer:
        return answer, b"".join([chunk async for chunk in answer.aiter_raw()])


async def code_of(http, rows):
    digests = rows.ready_for_seed_series()
    row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    body = {"traces": digests, "patch_sets": [row["id"]], "plan": "series"}
    return (await http.post("/api/v1/batches", json=body)).json()["code"]


async def test_pages_data_and_static_files_are_compressed_for_who_takes_it(http, rows):
    code = await code_of(http, rows)
    for path in (
        f"/batches/{code}",
        f"/api/v1/comparisons/{code}",
        f"/api/v1/comparisons/{code}.csv",
        "/static/style.css",
    ):
        plain, body = await raw(http, path, **{"accept-encoding": "identity"})
        packed, bytes_sent = await raw(http, path, **{"accept-encoding": "gzip"})
        assert "content-encoding" not in plain.headers, path
        assert packed.headers["content-encoding"] == "gzip", path
        assert packed.headers["content-length"] == str(len(bytes_sent)), path
        assert "accept-encoding" in packed.headers["vary"].lower(), path
        assert len(bytes_sent) < len(body) / 2, path
        if not path.startswith("/batches"):
            assert gzip.decompress(bytes_sent) == body, path


async def test_a_compressed_answer_is_known_again_by_its_tag(http, rows):
    path = f"/api/v1/comparisons/{await code_of(http, rows)}.csv"
    first, _ = await raw(http, path, **{"accept-encoding": "gzip"})

    again = await http.get(path, headers={"if-none-match": first.headers["etag"]})

    assert first.headers["etag"].startswith('W/"')
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/api/v1/me", "/api/v1/tokens", "/healthz"])
async def test_answers_with_credentials_and_small_ones_are_not(http, path):
    answer, body = await raw(http, path, **{"accept-encoding": "gzip"})

    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers
    assert path != "/healthz" or len(body) < LEAST_BYTES


async def test_errors_are_not(http):
    answer, _ = await raw(http, "/batches/b-none", **{"accept-encoding": "gzip"})

    assert answer.status_code == 404
    assert "content-encoding" not in answer.headers


def test_a_masked_key_is_another_text_each_time_and_the_same_key():
    key = "a-form-key_of_a_login"

    texts = {masked(key) for _ in range(20)}

    assert len(texts) == 20
    assert not any(key in text for text in texts)
    assert {unmasked(text) for text in texts} == {key}


@pytest.mark.parametrize("text", ["~", "~!", "~a", "~" + "A" * 40, "plain", ""])
def test_a_text_that_is_no_masked_key_is_no_key(text):
    assert unmasked(text) != "a-form-key_of_a_login"
    assert unmasked("plain") == "plain"


async def test_a_real_server_compresses_its_static_files_too(live, token):
    async with httpx.AsyncClient(base_url=live, headers=bearer(token), trust_env=False) as http:
        packed, body = await raw(http, "/static/style.css", **{"accept-encoding": "gzip"})

    assert packed.headers["content-encoding"] == "gzip"
    assert b"--paper" in gzip.decompress(body)


async def test_a_stream_of_events_is_not_held(live, rows, token):
    async with httpx.AsyncClient(base_url=live, headers=bearer(token), trust_env=False) as http:
        rows.register_simulator()
        row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
        body = {"traces": [rows.add_trace("boot")], "patch_sets": [row["id"]], "plan": "series"}
        code = (await http.post("/api/v1/batches", json=body)).json()["code"]
        asked = {"accept-encoding": "gzip"}
        async with http.stream("GET", f"/api/v1/batches/{code}/events", headers=asked) as stream:
            assert "content-encoding" not in stream.headers
            # The batch is not over: what comes was not held until the end.
            first = await anext(stream.aiter_lines())
    assert first


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        ("gzip;q=0", False),
        ("gzip; q=0.000, *;q=1", False),
        ("identity, gzip ;q=0.0", False),
        ("br, x-gzip", True),
        ("gzip;q=0.001", True),
        ("*", True),
        ("*;q=0", False),
        ("br, deflate", False),
        ("nogzip", False),
    ],
)
async def test_a_weight_of_nothing_refuses_gzip(http, accepted, is_packed):
    answer, _ = await raw(http, "/static/style.css", **{"accept-encoding": accepted})

    assert ("content-encoding" in answer.headers) is is_packed
