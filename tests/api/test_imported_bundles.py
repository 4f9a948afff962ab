"""Bundles of other services: checked, kept, compared with what this project has computed."""

import pytest
import sqlalchemy as sa

from db.models import Result, Run
from db.repositories import bundles
from tests.builders import transaction
from tests.bundle.test_bundle import changed, made, text_of
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio

PATH = "/api/v1/bundles"
ZIP = {"content-type": "application/zip"}


async def imported(http, data=None):
    answer = await http.post(PATH, content=made() if data is None else data, headers=ZIP)
    assert answer.status_code in {200, 201}, answer.text
    return answer


async def test_a_bundle_is_kept_once_and_shown_with_its_verdicts(http):
    answer = await imported(http)
    again = await imported(http)
    detail = (await http.get(answer.headers["location"])).json()

    assert (answer.status_code, again.status_code) == (201, 200)
    assert again.json() == answer.json()
    assert detail["title"] == "Series of 12 April 2010: batch b-7k3f"
    assert detail["verdict"] == "guest-visible-change"
    assert detail["matches"] == {"equal": 0, "different": [], "unknown": 10}
    assert [each["trace"]["name"] for each in detail["comparisons"]] == detail["traces"]
    assert detail["made_by"] == "token tests"


async def test_its_results_never_become_results_of_this_service(http, rows):
    await imported(http)

    with transaction(rows.engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Result)) == 0


async def test_results_that_the_project_has_computed_itself_are_told_apart(http, rows):
    digests = rows.ready_for_seed_series()
    body = {"name": "p3", "patches": []}
    row = (await http.post("/api/v1/patch_sets", json=body)).json()
    await http.post("/api/v1/batches", json={"traces": digests, "patch_sets": [row["id"]]})
    found = (await imported(http)).json()

    before = (await http.get(f"{PATH}/{found['id']}")).json()["matches"]
    with transaction(rows.engine) as session:
        session.execute(sa.update(Result).values(body_digest="0" * 64))
    after = (await http.get(f"{PATH}/{found['id']}")).json()["matches"]

    assert before == {"equal": 2, "different": [], "unknown": 8}
    assert after["equal"] == 0
    assert after["different"] == [
        "linux61-workload-1cpu, base, 1",
        "linux61-boot-1cpu, base, 1",
    ]


async def test_it_is_there_as_text_markdown_csv_and_as_the_file(http):
    data = made()
    found = (await imported(http, data)).json()

    for form, told in (("txt", "GUEST"), ("md", "| "), ("csv", "trace,trace_digest")):
        answer = await http.get(f"{PATH}/{found['id']}/comparison", params={"format": form})
        assert told in answer.text
    answer = await http.get(f"{PATH}/{found['id']}/comparison", params={"format": "zip"})
    assert answer.content == data


async def test_one_trace_is_shown_alone_by_its_number(http):
    found = (await imported(http)).json()

    second = (await http.get(f"{PATH}/{found['id']}", params={"trace": 2})).json()
    third = await http.get(f"{PATH}/{found['id']}", params={"trace": 3})

    assert [each["trace"]["name"] for each in second["comparisons"]] == ["linux61-boot-1cpu"]
    assert third.status_code == 404


async def test_a_bundle_that_lies_is_refused_and_nothing_is_kept(http):
    page = text_of(made(), "index.html").replace("GUEST-VISIBLE CHANGE", "improvement")

    answer = await http.post(PATH, content=changed(made(), "index.html", page), headers=ZIP)
    other = await http.post(PATH, content=b"PK no zip", headers=ZIP)

    assert answer.status_code == other.status_code == 422
    assert answer.json()["type"].endswith("/unusable-bundle")
    assert "index.html: not what its results give" in answer.json()["detail"]
    assert (await http.get(PATH)).json()["items"] == []


async def test_more_than_is_imported_is_refused(http, monkeypatch):
    monkeypatch.setattr("services.api.bundles.service.CELLS_MAX", 13)
    cells = await http.post(PATH, content=made(), headers=ZIP)
    monkeypatch.setattr("services.api.bundles.service.UNPACKED_BYTES_MAX", 1000)
    unpacked = await http.post(PATH, content=made(), headers=ZIP)
    monkeypatch.setattr("services.api.bundles.service.BYTES_MAX", 1000)
    size = await http.post(PATH, content=made(), headers=ZIP)
    monkeypatch.undo()
    monkeypatch.setattr("db.repositories.bundles.BUNDLES_MAX", 0)
    count = await http.post(PATH, content=made(), headers=ZIP)

    assert [answer.status_code for answer in (cells, unpacked, size, count)] == [422, 422, 413, 507]
    assert "it has 14 cells" in cells.json()["detail"]


async def test_only_its_maker_and_maintainers_delete_it(http, rows, site):
    found = (await imported(http)).json()
    token = rows.mint_token(scopes=("read", "submit"))
    async with in_process(site, token) as other:
        assert (await other.delete(f"{PATH}/{found['id']}")).status_code == 403
    assert (await http.get(f"{PATH}/{found['id']}")).status_code == 200


async def test_a_project_sees_its_own_only_and_deletes_it(http, site, rows):
    found = (await imported(http)).json()
    other = rows.mint_token(project=rows.add_project("other"))
    async with in_process(site, other) as foreign:
        assert (await foreign.get(PATH)).json()["items"] == []
        assert (await foreign.get(f"{PATH}/{found['id']}")).status_code == 404
        assert (await foreign.delete(f"{PATH}/{found['id']}")).status_code == 404

    assert (await http.delete(f"{PATH}/{found['id']}")).status_code == 204
    assert (await http.get(f"{PATH}/{found['id']}")).status_code == 404


async def test_an_imported_ablation_and_series_say_which_patch(http):
    found = (await imported(http)).json()

    detail = (await http.get(f"{PATH}/{found['id']}")).json()
    text = (await http.get(f"{PATH}/{found['id']}/comparison")).text

    assert detail["plan"] == "series"
    assert detail["answer"].startswith("Patch 3 (")
    assert [step["merge"] for step in detail["steps"]][2] == "do not"
    assert "Which to merge, each against the column without it" in text


async def test_results_of_other_variants_of_the_same_traces_stay_unread(http, rows):
    digests = rows.ready_for_seed_series()
    ids = [
        (await http.post("/api/v1/patch_sets", json=body)).json()["id"]
        for body in ({"name": "base", "patches": []}, {"name": "p2", "patches": ["zap-account"]})
    ]
    await http.post("/api/v1/batches", json={"traces": digests, "patch_sets": ids})
    with transaction(rows.engine) as session:
        variants = session.scalars(sa.select(Run.variant_digest).distinct()).all()
        found = bundles.own_results(session, digests, variants[:1])

    assert len(variants) == 2
    assert {variant for _, variant, _ in found} == {variants[0]}
