"""The bundle of a batch's comparison: ``.zip`` beside the other formats."""

import io
import threading
import zipfile

import pytest

from refault.bundle import Bundle, verify
from tests.builders import digest_of
from tests.fixtures.api import SERIES, in_process

pytestmark = pytest.mark.anyio


@pytest.fixture
async def code(http, rows):
    digests = rows.ready_for_seed_series()
    row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    body = {"traces": digests, "patch_sets": [row["id"]], "plan": "series"}
    return (await http.post("/api/v1/batches", json=body)).json()["code"]


def path(code):
    return f"/api/v1/comparisons/{code}.zip"


async def test_the_bundle_verifies_and_is_the_same_each_time(http, code):
    answer = await http.get(path(code))
    again = await http.get(path(code))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="{code}.zip"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert again.content == answer.content
    found = verify(Bundle.open(io.BytesIO(answer.content)))
    assert found.problems == []
    document = (await http.get(f"/api/v1/comparisons/{code}")).json()
    assert found.head.title == document["title"]
    assert found.verdict == document["verdict"]["title"]
    assert found.exit_code == document["verdict"]["exit_code"]


async def test_whoever_has_it_gets_it_no_second_time(http, code):
    tag = (await http.get(path(code))).headers["etag"]

    answer = await http.get(path(code), headers={"if-none-match": tag})

    assert answer.status_code == 304
    assert answer.content == b""


async def test_one_trace_and_another_base_are_bundled_alone(http, code):
    trace = digest_of("linux61-boot-1cpu")
    answer = await http.get(path(code), params={"trace": trace, "base": 6})

    found = verify(Bundle.open(io.BytesIO(answer.content)))
    assert found.problems == []
    assert (found.traces, found.head.base) == (1, 6)


async def test_a_base_that_is_not_there_and_a_trace_that_is_not_in_it_are_refused(http, code):
    base = await http.get(path(code), params={"base": 7})
    trace = await http.get(path(code), params={"trace": digest_of("another")})

    assert base.status_code == 422
    assert "base column 7 does not exist; the 7 columns count from 0" in base.json()["detail"]
    assert trace.status_code == 404


async def test_a_batch_that_is_not_over_is_bundled_as_far_as_it_is(http, rows):
    digests = rows.ready_for_seed_series()
    rows.add_trace("unknown")
    row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    body = {"traces": [*digests, digest_of("unknown")], "patch_sets": [row["id"]], "plan": "series"}
    code = (await http.post("/api/v1/batches", json=body)).json()["code"]

    found = verify(Bundle.open(io.BytesIO((await http.get(path(code))).content)))

    assert found.problems == []
    assert (found.cells, found.results) == (21, 10)


async def test_too_many_cells_are_refused_with_what_to_do(http, code, monkeypatch):
    monkeypatch.setattr("services.api.comparisons.bundling.CELLS_MAX", 13)

    answer = await http.get(path(code))

    assert answer.status_code == 422
    assert answer.json()["type"].endswith("/unusable-bundle")
    assert "are 14 cells" in answer.json()["detail"]
    assert "?trace=DIGEST" in answer.json()["detail"]


async def test_no_more_are_made_at_once_than_may_be(http, code, monkeypatch):
    none_left = threading.BoundedSemaphore(1)
    none_left.acquire()
    monkeypatch.setattr("services.api.comparisons.bundling._slots", none_left)

    answer = await http.get(path(code))

    assert answer.status_code == 503
    assert "retry-after" in answer.headers


async def test_another_project_has_no_such_batch(site, rows, code):
    other = rows.mint_token(project=rows.add_project("other"))
    async with in_process(site, other) as http:
        assert (await http.get(path(code))).status_code == 404


async def test_who_has_a_link_to_the_batch_gets_its_bundle_and_no_other(http, site, code):
    share = (await http.post(f"/api/v1/batches/{code}/shares", json={})).json()
    secret = share["path"].removeprefix("/s/")
    async with in_process(site, secret) as linked:
        assert (await linked.get(path(code))).status_code == 200
        assert (await linked.get(path("b-9x2m"))).status_code in {403, 404}


async def test_its_text_is_that_of_the_comparison_with_plan_steps_and_answer(http, code):
    answer = await http.get(path(code))
    text = (await http.get(f"/api/v1/comparisons/{code}.txt")).text

    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        inside = archive.read(f"refault-{code}/comparison.txt").decode()
    assert "Which to merge, each against the column without it" in inside
    assert inside == text


async def test_an_ablation_has_the_verdict_of_its_batch(http, rows):
    digests = rows.ready_for_seed_series()
    row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    body = {"traces": digests, "patch_sets": [row["id"]], "plan": "ablation"}
    code = (await http.post("/api/v1/batches", json=body)).json()["code"]

    found = verify(Bundle.open(io.BytesIO((await http.get(path(code))).content)))

    document = (await http.get(f"/api/v1/comparisons/{code}")).json()
    assert found.problems == []
    assert (found.verdict, found.exit_code) == (
        document["verdict"]["title"],
        document["verdict"]["exit_code"],
    )


async def test_it_has_the_charts_of_the_pages(http, code):
    trace = digest_of("linux61-boot-1cpu")
    answer = await http.get(path(code), params={"trace": trace})
    page = await http.get(f"/api/v1/comparisons/{code}.svg", params={"trace": trace})

    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.read(f"refault-{code}/charts/001.svg").decode() == page.text
    found = verify(Bundle.open(io.BytesIO(answer.content)))
    assert (found.problems, found.charts) == ([], 1)
