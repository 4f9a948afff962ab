"""Findings over a corpus: filed with their results, grouped, filtered, paged; nobody else's."""

import uuid

import pytest
import sqlalchemy as sa

from db.models import Document, FiledFinding, Result, Run
from db.repositories import findings
from refault.catalogue import SEED_SERIES
from refault.client import AsyncClient
from tests.api.test_batch_audits import answer_all, wanted  # noqa: F401 - a fixture
from tests.api.test_batch_life import seed_batch
from tests.builders import make_broken, transaction
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio

FINDINGS = "/api/v1/findings"


async def listed(http, place=FINDINGS, **params):
    answer = await http.get(place, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


@pytest.fixture
async def batch(http, rows):
    """The seed series over two captures: patches 1 to 3 mislead the guest on one of them."""
    return await seed_batch(http, rows)


async def test_findings_of_results_stand_by_kind_and_variant(http, batch):
    found = await listed(http)
    assert {(group["kind"], group["source"]) for group in found} == {("missed-fault", "run")}
    cells = [group["cells"] for group in found]
    assert cells == sorted(cells, reverse=True)
    one = found[0]
    assert (one["is_guest_visible"], one["is_known"], one["title"]) == (True, False, "")
    first = one["first"]
    assert first["batch_code"] == batch["code"]
    run = (await http.get(f"/api/v1/runs/{first['run_id']}")).json()
    of_kind = [each for each in run["result"]["findings"] if each["kind"] == "missed-fault"]
    assert first["operation_index"] == min(each["operation_index"] for each in of_kind)
    assert first["count"] == len(of_kind)


async def test_failed_checks_of_audits_stand_beside_them(http, rows, wanted):  # noqa: F811
    code = (await http.post("/api/v1/batches", json=wanted | {"audit": "flush"})).json()["code"]
    known = make_broken("F-T2", operation_index=7, exception="F-X2", count=3)
    answer_all(rows, {"p2": [make_broken("F-H1", operation_index=41), known]})
    [one, other] = await listed(http, source="audit")
    assert [each["kind"] for each in await listed(http, source="audit", limit=1)] == ["F-H1"]
    assert (one["kind"], other["kind"]) == ("F-H1", "F-T2")
    assert (other["is_known"], other["places"], other["first"]["exception"]) == (True, 3, "F-X2")
    assert one["title"].startswith("after the host took a frame away")
    assert one["first"]["batch_code"] == code
    assert [each["kind"] for each in await listed(http, known="false")] == ["F-H1"]
    assert [each["kind"] for each in await listed(http, known="true", batch=code)] == ["F-T2"]
    assert await listed(http, source="run") == []


async def test_filters_and_pages(site, http, token, batch):
    whole = await listed(http)
    paged, cursor = [], None
    while cursor is not None or not paged:
        params = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = (await http.get(FINDINGS, params=params)).json()
        paged += page["items"]
        cursor = page["next_cursor"]
    assert paged == whole
    first = whole[0]
    assert await listed(http, q="NOTHING%") == []
    assert await listed(http, q=first["kind"].upper(), variant=first["variant"]["digest"]) == [
        first
    ]
    assert {each["kind"] for each in await listed(http, batch=batch["code"])} == {
        each["kind"] for each in whole
    }
    async with AsyncClient.in_process(site, "http://refault.test", token=token) as client:
        page = await client.list_finding_cells(
            {"kind": first["kind"], "variant": first["variant"]["digest"]}
        )
    assert len(page["items"]) == first["cells"]
    assert {each["trace_name"] for each in page["items"]} <= {
        trace["name"] for trace in batch["traces"]
    }


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"cursor": "nonsense"}, 422), ({"variant": "p3"}, 422), ({"source": "guess"}, 422),
        ({"batch": "b-none"}, 404),
    ],
)  # fmt: skip
async def test_a_filter_that_is_none_is_refused(http, params, status):
    assert (await http.get(FINDINGS, params=params)).status_code == status


async def test_upkeep_files_what_an_earlier_release_has_stored_and_once_is_enough(
    http, rows, batch
):
    before = await listed(http)
    assert before
    with transaction(rows.engine) as session:
        session.execute(sa.delete(FiledFinding))
        session.execute(sa.update(Result).values(is_filed=False))
        session.execute(sa.update(Document).values(is_filed=False))
        damaged = session.scalars(sa.select(Result).limit(1)).one()
        damaged.body = {"findings": [{}]}
    with transaction(rows.engine) as session:
        assert findings.file_results(session) > 0
        assert findings.file_results(session) == 0
    kinds = {(group["kind"], group["variant"]["digest"]) for group in await listed(http)}
    assert kinds <= {(group["kind"], group["variant"]["digest"]) for group in before}
    with transaction(rows.engine) as session:
        count = session.scalar(sa.select(sa.func.count()).select_from(FiledFinding))
        session.execute(sa.update(Result).values(is_filed=False))
        findings.file_results(session)
        again = session.scalar(sa.select(sa.func.count()).select_from(FiledFinding))
    assert again == count


async def test_another_project_sees_nothing(site, rows, http, batch):
    assert await listed(http)
    other = rows.mint_token(project=rows.add_project("elsewhere"))
    async with in_process(site, other) as client:
        for place in (FINDINGS, f"{FINDINGS}/cells"):
            assert await listed(client, place) == []
            hidden = await client.get(place, params={"batch": batch["code"]})
            assert hidden.status_code == 404
        assert "No findings" in (await client.get("/findings")).text


async def test_a_batch_shows_no_finding_of_a_result_that_is_not_its_own(http, rows, batch):
    """Of another version of the engine, on the same trace under the same variant."""
    body = {"name": "to the third", "patches": list(SEED_SERIES[:3])}
    patch_set = (await http.post("/api/v1/patch_sets", json=body)).json()["id"]
    asked = {"traces": [trace["digest"] for trace in batch["traces"]], "patch_sets": [patch_set]}
    other = (await http.post("/api/v1/batches", json=asked)).json()
    with transaction(rows.engine) as session:
        own = Run.batch_id == uuid.UUID(batch["id"])
        session.execute(sa.update(Run).where(own).values(result_id=None, state="failed"))

    assert await listed(http, batch=other["code"])
    assert await listed(http, batch=batch["code"]) == []
