import hashlib
import shutil

import anyio
import pytest

from tests.api.test_uploads import GOOD, content_digest, flipped, slowly

pytestmark = pytest.mark.anyio

BLOB = f"/api/v1/blobs/{hashlib.sha256(GOOD).hexdigest()}"


async def test_a_blob_can_be_put_under_its_digest(http, rows):
    first = await http.put(
        BLOB, content=slowly(GOOD), params={"name": "by curl", "tag": ["a", "b"]}
    )
    again = await http.put(BLOB, content=GOOD)
    head = await http.head(BLOB)

    assert (first.status_code, again.status_code) == (201, 200)
    assert (first.json()["name"], first.json()["tags"]) == ("by curl", ["a", "b"])
    assert again.json()["id"] == first.json()["id"]
    assert head.headers["content-length"] == str(len(GOOD))
    (file,) = rows.files()
    assert file.read_bytes() == GOOD


async def test_bytes_put_under_another_digest_are_refused(http, rows):
    answer = await http.put(f"/api/v1/blobs/{'0' * 64}", content=GOOD)

    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/digest-mismatch"
    assert rows.nothing_is_left()


async def test_a_content_digest_that_contradicts_the_address_is_refused(http, rows):
    answer = await http.put(BLOB, content=GOOD, headers={"content-digest": content_digest(b"x")})

    assert answer.status_code == 422
    assert "the address says" in answer.json()["detail"]
    assert rows.nothing_is_left()


async def test_a_bad_trace_put_as_a_blob_is_refused_at_its_byte(http, rows):
    data = flipped(GOOD, 60)
    answer = await http.put(f"/api/v1/blobs/{hashlib.sha256(data).hexdigest()}", content=data)

    assert answer.status_code == 422
    assert answer.json()["offset"] < 100
    assert rows.nothing_is_left()


async def test_a_damaged_file_is_mended_by_putting_it_again(http, rows):
    await http.put(BLOB, content=GOOD)
    (file,) = rows.files()
    file.write_bytes(flipped(GOOD, 100))

    assert (await http.put(BLOB, content=GOOD)).status_code == 200
    assert file.read_bytes() == GOOD


async def test_curl_uploads_and_asks(live, token, tmp_path):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    file = tmp_path / "made.rft"
    file.write_bytes(GOOD)
    options = ["--noproxy", "*", "--silent", "--show-error", "--output", tmp_path / "answer"]
    options += ["--header", f"Authorization: Bearer {token}"]
    written = ["--write-out", "%{http_code} %header{content-length}"]

    put = await anyio.run_process([curl, *options, *written, "-T", file, f"{live}{BLOB}"])
    head = await anyio.run_process([curl, *options, *written, "--head", f"{live}{BLOB}"])

    assert put.stdout.startswith(b"201 ")
    assert head.stdout == f"200 {len(GOOD)}".encode()


@pytest.mark.parametrize(
    ("wanted", "status", "name"),
    [
        ("bytes=9999999-", 416, "range-not-satisfiable"),
        ("bytes=-0", 416, "range-not-satisfiable"),
        ("bytes=0-3, 9999999-", 416, "range-not-satisfiable"),
        ("bytes=5-2", 422, "invalid-request"),
        ("bytes=" + "9" * 5000 + "-", 422, "invalid-request"),
        ("bytes=", 422, "invalid-request"),
        ("bytes=a-b", 422, "invalid-request"),
        ("pages=1-2", 422, "invalid-request"),
        ("nonsense", 422, "invalid-request"),
    ],
)
async def test_a_range_that_cannot_be_is_refused_as_a_problem(http, wanted, status, name):
    """The server answered with a line of plain text, whatever the document said."""
    assert (await http.put(BLOB, content=GOOD)).status_code == 201
    answer = await http.get(BLOB, headers={"range": wanted})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"/problems/{name}"
    if status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(GOOD)}"


@pytest.mark.parametrize(
    ("wanted", "part"),
    [("bytes=4-", slice(4, None)), ("bytes=2-5", slice(2, 6)), ("bytes=-7", slice(-7, None))],
)
async def test_a_range_is_answered_with_that_part(http, wanted, part):
    assert (await http.put(BLOB, content=GOOD)).status_code == 201
    answer = await http.get(BLOB, headers={"range": wanted})
    assert (answer.status_code, answer.content) == (206, GOOD[part])
