"""Batches whose runs are audited: what is asked, how far it is, and the verdict with it."""

import msgpack
import pytest
import sqlalchemy as sa

from db import questions as work
from db.models import Batch, Document, FiledFinding, Question
from db.repositories import audits, comparisons, findings, traces
from db.session import transaction
from refault.client import AsyncClient
from refault.documents import DocumentKey
from tests.api.test_batches import BATCHES
from tests.builders import digest_of, make_broken, make_report
from tests.fixtures.api import SIMULATOR, in_process

pytestmark = pytest.mark.anyio

TRACE = "linux61-boot-1cpu"


@pytest.fixture
async def wanted(http, rows):
    """A batch of base and p3 on one capture, whose results are known."""
    rows.register_simulator()
    rows.add_trace(TRACE)
    rows.know_seed_series(TRACE)
    sets = []
    for name, patches in (("base", []), ("p2", ["zap-account"])):
        made = await http.post("/api/v1/patch_sets", json={"name": name, "patches": patches})
        sets.append(made.json()["id"])
    return {"traces": [digest_of(TRACE)], "patch_sets": sets}


def answer_all(rows, broken, level="flush"):
    """A worker audits what waits; ``broken`` has what fails, by the name of the variant."""
    count = 0
    with transaction(rows.engine) as session:
        while claim := work.claim(
            session, engines=["shadow"], worker="worker", worker_pid=1, lease_seconds=60
        ):
            [digest] = claim.asked["variants"]
            name = session.scalar(
                sa.text("SELECT golden_name FROM variants WHERE digest = :digest"),
                {"digest": digest},
            )
            report = make_report(*broken.get(name, ()), variant_digest=digest, level=level)
            key = DocumentKey("audit", level, claim.trace_digest, digest, SIMULATOR)
            body = msgpack.packb({"answer": report.to_dict(), "text": ""})
            assert work.finish(session, claim.fence, (key, body))
            count += 1
    return count


async def test_audits_are_asked_counted_and_make_a_repair_of_a_change(http, rows, wanted):
    plain = (await http.post(BATCHES, json=wanted)).json()
    assert plain["audits"] is None
    before = (await http.get(f"{BATCHES}/{plain['code']}")).json()["verdict"]["status"]

    told = await http.post(BATCHES, params={"dry_run": True}, json=wanted | {"audit": "flush"})
    assert "2 audits (flush) come after the runs" in told.json()["basis"]
    made = (await http.post(BATCHES, json=wanted | {"audit": "flush"})).json()
    assert made["code"] != plain["code"], "a batch with audits is another one"
    assert made["audits"] == {"level": "flush", "total": 2, "done": 0, "failed": 0}
    page = await http.get(f"/batches/{made['code']}")
    assert "audits (flush): 0 of 2 done" in page.text

    assert answer_all(rows, {"base": [make_broken("F-H1", operation_index=41)]}) == 2
    done = (await http.get(f"{BATCHES}/{made['code']}")).json()
    assert done["audits"] == {"level": "flush", "total": 2, "done": 2, "failed": 0}
    assert before != "repair"
    assert done["verdict"]["status"] == "repair"

    document = (await http.get(f"/api/v1/comparisons/{made['code']}.json")).json()
    [comparison] = document["comparisons"]
    assert [failed["check"] for failed in comparison["audit"]["failed"]] == ["F-H1"]
    assert comparison["columns"][1]["verdict"]["name"] == "repair"
    assert "F-H1" in comparison["columns"][1]["reason"]
    text = (await http.get(f"/api/v1/comparisons/{made['code']}.txt")).text
    assert "Audit (flush): what must hold, and where it does not" in text
    page = (await http.get(f"/batches/{made['code']}")).text
    assert "audits (flush): 2 of 2 done" in page
    assert "after the host took a frame away no leaf and no live TLB entry reaches it" in page
    assert "Is: a leaf maps it. Should be: no leaf." in page


async def test_the_client_waits_for_audits(site, http, rows, token, wanted):
    async with AsyncClient.in_process(site, "http://refault.test", token=token) as client:
        without = await client.submit_batch(wanted["traces"], wanted["patch_sets"])
        assert (await client.wait_for_audits(without["code"]))["audits"] is None
        batch = await client.submit_batch(wanted["traces"], wanted["patch_sets"], audit="every")
        seen = []

        def progress(done, total):
            seen.append((done, total))
            answer_all(rows, {}, level="every")

        found = await client.wait_for_audits(batch["code"], progress=progress)
    assert seen == [(0, 2)]
    assert found["audits"] == {"level": "every", "total": 2, "done": 2, "failed": 0}


async def test_a_second_batch_asks_nothing_that_was_asked(http, rows, wanted):
    await http.post(BATCHES, json=wanted | {"audit": "flush"})
    answer_all(rows, {})
    again = (await http.post(BATCHES, json=wanted | {"audit": "flush"})).json()
    assert again["audits"] == {"level": "flush", "total": 2, "done": 2, "failed": 0}
    with transaction(rows.engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Question)) == 2


async def test_too_many_audits_are_refused_and_nothing_is_written(http, rows, wanted, monkeypatch):
    monkeypatch.setattr("db.shards.auditing.AUDITS_MAX", 1)
    told = await http.post(BATCHES, json=wanted | {"audit": "flush"})
    assert (told.status_code, told.json()["errors"][0]["pointer"]) == (422, "/audit")
    assert "submit several batches" in told.json()["detail"]
    told = await http.post(BATCHES, json=wanted | {"audit": "off"})
    assert (told.status_code, told.json()["errors"][0]["pointer"]) == (422, "/audit")
    assert (await http.get(BATCHES)).json()["items"] == []


async def test_another_projects_audits_do_not_show(http, site, rows, wanted):
    await http.post(BATCHES, json=wanted | {"audit": "flush"})
    answer_all(rows, {"base": [make_broken("F-H1")]})
    project = rows.add_project("second")
    async with in_process(site, rows.mint_token(project=project)) as other:
        with transaction(rows.engine, project) as session:
            [mine] = session.execute(
                sa.text("SELECT digest, content, guest_mode, event_count FROM traces")
            ).all()
            traces.add(
                session,
                name="theirs",
                vcpu_count=1,
                size_bytes=1,
                instruction_count=1,
                truncated=False,
                events_by_kind={},
                header={},
                **mine._asdict(),
            )
        made = await other.post("/api/v1/patch_sets", json={"name": "base", "patches": []})
        body = {"traces": wanted["traces"], "patch_sets": [made.json()["id"]], "audit": "flush"}
        batch = (await other.post(BATCHES, json=body)).json()
        assert batch["audits"] == {"level": "flush", "total": 1, "done": 0, "failed": 0}
        document = (await other.get(f"/api/v1/comparisons/{batch['code']}.json")).json()
        assert "audit" not in document["comparisons"][0]


async def test_a_report_is_read_once_however_often_a_page_is_judged(http, rows, wanted):
    await http.post(BATCHES, json=wanted | {"audit": "flush"})
    answer_all(rows, {})
    seen = []

    def read(_connection, _cursor, statement, *_):
        seen.append("documents.body " in statement or "documents.body\n" in statement)

    with transaction(rows.engine) as session:
        batch = session.scalars(sa.select(Batch)).one()
        traces_shown = comparisons.traces_of(session, batch.id)
        first = audits.reports(session, batch, traces_shown)
        sa.event.listen(rows.engine, "before_cursor_execute", read)
        again = audits.reports(session, batch, traces_shown)
        sa.event.remove(rows.engine, "before_cursor_execute", read)

    assert len(first) == 2
    assert again == first
    assert seen == [False]


def test_kept_reports_are_bounded_by_their_bytes_and_the_oldest_goes():
    kept = audits._Kept(100)
    report = make_report()
    for name in "abc":
        kept.put((name, name), report, 40)
    kept.put(("d", "d"), report, 101)

    assert [kept.get((name, name)) for name in "abcd"] == [None, report, report, None]


async def test_audits_are_filed_a_few_bodies_at_a_time(http, rows, wanted, monkeypatch):
    await http.post(BATCHES, json=wanted | {"audit": "flush"})
    answer_all(rows, {"base": ["F-U1"], "p2": ["F-W1"]})
    monkeypatch.setattr(findings, "BODIES_AT_ONCE", 1)
    with transaction(rows.engine) as session:
        session.execute(sa.delete(FiledFinding))
        session.execute(sa.update(Document).values(is_filed=False))
        assert findings.file_audits(session) == 2
        assert findings.file_audits(session) == 0
        kinds = session.scalars(sa.select(FiledFinding.kind).order_by(FiledFinding.kind)).all()

    assert kinds == ["F-U1", "F-W1"]
