"""Questions over HTTP: what a user asks, what it looks like, and who sees it."""

import msgpack
import pytest
import sqlalchemy as sa

from db import questions as work
from db.repositories.questions import OPEN_MAX
from db.session import transaction
from refault.audits import Level
from refault.client import AsyncClient
from refault.errors import Refused
from refault.questions import Between, Column, Question, Where
from refault.trace import TraceHeader
from tests.api.test_resumable import service
from tests.builders import digest_of, make_report
from tests.fixtures.api import SERIES, SIMULATOR, in_process
from tests.replay.test_lowering import of_pae
from tests.trace.files import trace_bytes

pytestmark = pytest.mark.anyio

QUESTIONS = "/api/v1/questions"
AUDIT = {"kind": "audit", "variant": "p3"}
VERIFIED = {"is_good": True, "complaint": "", "share": 1.0, "asked": 4, "agreed": 4}
ANSWER = {"answer": make_report().to_dict(), "text": "no check failed\n"}


@pytest.fixture
def trace(rows):
    rows.register_simulator()
    return rows.add_trace("boot")


def answer(rows, told=ANSWER, error=None):
    """A worker takes the oldest question, and answers or refuses it."""
    with transaction(rows.engine) as session:
        claim = work.claim(
            session, engines=["shadow"], worker="worker", worker_pid=1, lease_seconds=60
        )
        if error is not None:
            assert work.fail(session, claim.fence, error)
            return
        columns = [Column(digest, SIMULATOR) for digest in claim.asked["variants"]]
        key = Question.from_dict(claim.asked["question"]).key(claim.trace_digest, columns)
        assert work.finish(session, claim.fence, (key, msgpack.packb(told)))


async def test_a_question_is_asked_once_and_answered(http, rows, trace):
    first = await http.post(QUESTIONS, json=AUDIT | {"trace": trace[:8]})
    made = first.json()
    assert (first.status_code, made["state"], made["answer"]) == (202, "queued", None)
    assert first.headers["location"] == f"{QUESTIONS}/{made['id']}"
    assert made["options"] == {"level": "flush"}
    assert [each["text"] for each in made["variants"]] == ["p3"]
    assert made["trace"]["name"] == "boot"

    again = await http.post(QUESTIONS, json=AUDIT | {"trace": trace, "level": "flush"})
    assert (again.status_code, again.json()["id"]) == (200, made["id"])

    answer(rows)
    done = (await http.get(f"{QUESTIONS}/{made['id']}")).json()
    assert (done["state"], done["text"]) == ("done", "no check failed\n")
    assert done["answer"] == ANSWER["answer"]
    listed = (await http.get(QUESTIONS, params={"kind": "audit", "trace": trace})).json()
    assert [(each["id"], "answer" in each) for each in listed["items"]] == [(made["id"], False)]
    assert (await http.get(QUESTIONS, params={"kind": "divergence"})).json()["items"] == []


async def test_a_capture_is_asked_about_itself_when_it_arrives(http, rows):
    """Listed only where asked for; operations have nothing to verify."""
    octets = {"content-type": "application/octet-stream"}
    stored = await http.post("/api/v1/traces", content=of_pae().trace().read(), headers=octets)
    digest = stored.json()["digest"]
    vector = trace_bytes([(32, 0, 0, 0, 0, 1, 0)], TraceHeader("operations", "v", "long", 1))
    assert (await http.post("/api/v1/traces", content=vector, headers=octets)).status_code == 201

    [asked] = (await http.get(QUESTIONS, params={"kind": "verification"})).json()["items"]
    assert (asked["trace"]["digest"], asked["state"]) == (digest, "queued")
    assert (asked["variants"], asked["options"]) == ([], {})
    assert (await http.get(QUESTIONS)).json()["items"] == []
    trace = f"/api/v1/traces/{digest}"
    assert (await http.get(trace)).json()["statistics"]["verification"] is None

    told = VERIFIED | {"share": 0.5, "agreed": 2, "is_good": False, "complaint": "50 % agree"}
    answer(rows, {"answer": told, "text": "not good\n"})
    found = (await http.get(trace)).json()["statistics"]["verification"]
    assert found == {name: told[name] for name in found}
    again = await http.post(QUESTIONS, json={"kind": "verification", "trace": digest})
    assert again.status_code == 200, again.text
    assert again.json()["id"] == asked["id"]
    wrong = {"kind": "verification", "trace": digest, "variant": "p3"}
    assert (await http.post(QUESTIONS, json=wrong)).status_code == 422


async def test_what_a_trace_cannot_say_stands_beside_its_numbers(http, rows):
    rows.register_simulator()
    limits = {"origin": "addresses", "losses": ["stores to tables are made up."]}
    digest = rows.add_trace("boot", header=limits)
    patch_set = (await http.post("/api/v1/patch_sets", json=SERIES)).json()["id"]
    batch = {"traces": [digest], "patch_sets": [patch_set], "plan": "series"}
    code = (await http.post("/api/v1/batches", json=batch)).json()["code"]
    comparison = (await http.get(f"/api/v1/comparisons/{code}.txt")).text

    told = " ".join(comparison.split())
    assert "boot: real addresses, synthetic tables; stores to tables are made up." in told


async def test_a_refusal_says_why_and_can_be_asked_again(http, rows, trace):
    body = {"kind": "inspection", "trace": trace, "variant": "p3", "gva": "0xffffffff81000000"}
    made = (await http.post(QUESTIONS, json=body)).json()
    assert made["options"] == {"back": 0, "gva": "0xffffffff81000000"}
    answer(rows, error="event 9: beyond the end")
    failed = (await http.get(f"{QUESTIONS}/{made['id']}")).json()
    assert (failed["state"], failed["error"]) == ("failed", "event 9: beyond the end")
    again = await http.post(QUESTIONS, json=body)
    assert (again.status_code, again.json()["state"], again.json()["attempt"]) == (200, "queued", 2)


async def test_the_client_asks_waits_and_lists(site, rows, token, trace):
    async with AsyncClient.in_process(site, "http://refault.test", token=token) as client:
        made = await client.ask(Question(Level("sampled", 100, 7)), trace, "base")
        assert made["options"] == {"level": "sampled", "every": 100, "seed": 7}
        differ = await client.ask(Question(Between("exits", wants_next=True)), trace, "base", "p3")
        assert differ["options"] == {"on": "exits", "next": True}
        where = await client.ask(Question(Where(event=3, gfn=0x105)), trace, "base")
        assert where["options"] == {"event": 3, "back": 0, "gfn": "0x105"}
        for _ in range(3):
            answer(rows)
        seen = []
        done = await client.wait_for_question(made["id"], progress=lambda *told: seen.append(told))
        assert (done["state"], seen) == ("done", [(0, 0)])
        listed = await client.list_questions(limit=2)
        assert [each["id"] for each in listed["items"]] == [where["id"], differ["id"]]
        with pytest.raises(Refused, match="no question"):
            await client.get_question("01900000-0000-7000-8000-00000000dead")


async def test_the_metrics_say_how_many_wait(http, api_settings, token, trace):
    await http.post(QUESTIONS, json=AUDIT | {"trace": trace})
    async with service(api_settings, token, metrics_open=True) as open_to_all:
        text = (await open_to_all.get("/metrics")).text
    assert 'refault_questions{state="queued"} 1.0' in text


async def test_another_project_sees_neither_questions_nor_answers(http, site, rows, trace):
    made = (await http.post(QUESTIONS, json=AUDIT | {"trace": trace})).json()
    answer(rows)
    async with in_process(site, rows.mint_token(project=rows.add_project("second"))) as other:
        assert (await other.get(f"{QUESTIONS}/{made['id']}")).status_code == 404
        assert (await other.get(QUESTIONS)).json()["items"] == []
        asked = await other.post(QUESTIONS, json=AUDIT | {"trace": trace})
        assert (asked.status_code, asked.json()["errors"][0]["pointer"]) == (404, "/trace")


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"kind": "audit", "variant": "nosuch"}, 422, "/variant"),
        ({"kind": "divergence", "variants": ["base", "nosuch"]}, 422, "/variants/1"),
        ({"kind": "divergence", "variants": ["base"]}, 422, "/variants"),
        ({"kind": "audit", "variant": "kernel:mine"}, 404, "/variant"),
        ({"kind": "inspection", "variant": "p3", "gva": "nowhere"}, 422, "/gva"),
        ({"kind": "inspection", "variant": "p3", "gva": "0x1", "gfn": "0x1"}, 422, ""),
        ({"kind": "inspection", "variant": "p3", "gfn": "0xffffffffffffffff"}, 422, ""),
        ({"kind": "inspection", "variant": "p3", "until": "noon"}, 422, ""),
        ({"kind": "audit", "variant": "p3", "level": "off"}, 422, "/level"),
        ({"kind": "guess", "variant": "p3"}, 422, "/kind"),
        ({"variant": "p3"}, 422, "/kind"),
        ({"kind": "audit"}, 422, "/variant"),
        ({"kind": "divergence", "variant": "p3"}, 422, "/variant"),
        ({"kind": "audit", "variant": "p3", "gva": "0x1"}, 422, "/gva"),
        ({"kind": "audit", "variant": "p3", "every": 0}, 422, "/every"),
        ({"kind": "audit", "variant": "p3", "more": 1}, 422, "/more"),
    ],
)
async def test_what_cannot_be_asked_names_the_place(http, trace, body, status, pointer):
    told = await http.post(QUESTIONS, json={"trace": trace} | body)
    assert told.status_code == status, told.text
    assert told.json()["errors"][0]["pointer"] == pointer
    assert (await http.get(QUESTIONS)).json()["items"] == []


async def test_without_a_worker_nobody_would_answer(http, rows):
    trace = rows.add_trace("boot")
    told = await http.post(QUESTIONS, json=AUDIT | {"trace": trace})
    assert (told.status_code, told.json()["type"]) == (503, "/problems/no-simulator")


async def test_a_project_has_so_many_open_questions(http, rows, trace, monkeypatch):
    monkeypatch.setitem(OPEN_MAX, "audit", 2)
    for name in ("base", "p2"):
        assert (
            await http.post(QUESTIONS, json=AUDIT | {"trace": trace, "variant": name})
        ).is_success
    full = await http.post(QUESTIONS, json=AUDIT | {"trace": trace})
    assert (full.status_code, full.json()["type"]) == (507, "/problems/quota-exceeded")
    look = {"kind": "inspection", "trace": trace, "variant": "base"}
    assert (await http.post(QUESTIONS, json=look)).status_code == 202, "another kind has its own"
    answer(rows)
    answer(rows)
    assert (await http.post(QUESTIONS, json=AUDIT | {"trace": trace})).status_code == 202


async def test_a_kernel_keeps_its_state_to_itself(http, rows, trace):
    # The name of a build is all that is needed: nothing of it is looked at.
    told = await http.post(
        QUESTIONS, json={"kind": "inspection", "trace": trace, "variant": f"kernel:{'0' * 64}"}
    )
    assert told.status_code == 404
    with transaction(rows.engine) as session:
        assert session.scalar(sa.text("SELECT count(*) FROM questions")) == 0
    assert digest_of("boot") == trace
