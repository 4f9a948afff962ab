"""``Idempotency-Key``: what is sent twice is done once."""

import anyio
import pytest
import sqlalchemy as sa

from db.models import FIRST_PROJECT, Batch, IdempotencyKey
from services.api import app
from services.api.app import ROOT
from services.api.idempotency import OnceRoute
from tests.builders import transaction
from tests.fixtures.api import SEED_TRACES, SERIES, trace_bytes
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

BATCHES = f"{ROOT}/batches"
PATCH_SETS = f"{ROOT}/patch_sets"
TRACES = f"{ROOT}/traces"
KEY = {"idempotency-key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


async def batch_body(http, rows):
    """A batch whose results are all known, so that it is over at once."""
    digests = rows.ready_for_seed_series()
    patch_set = (await http.post(PATCH_SETS, json=SERIES)).json()["id"]
    return {"traces": digests, "patch_sets": [patch_set], "plan": "series"}


def count(rows, model):
    with transaction(rows.engine) as session:
        return session.scalar(sa.select(sa.func.count()).select_from(model))


def age(rows, **interval):
    """Moves all keys into the past; the database's clock is the only one."""
    with transaction(rows.engine) as session:
        session.execute(
            sa.update(IdempotencyKey).values(
                created_at=IdempotencyKey.created_at - sa.func.make_interval(*interval.values())
            )
        )


async def test_a_batch_sent_twice_under_one_key_is_one_batch(http, rows):
    body = await batch_body(http, rows)

    first = await http.post(BATCHES, json=body, headers=KEY)
    second = await http.post(BATCHES, json=body, headers=KEY)
    without = await http.post(BATCHES, json=body)

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.content == first.content
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    # The first one was over, so the same without a key is a batch of its own.
    assert without.json()["code"] != first.json()["code"]
    assert count(rows, Batch) == 2


async def test_another_body_under_a_used_key_is_refused_and_does_nothing(http, rows):
    body = await batch_body(http, rows)
    await http.post(BATCHES, json=body, headers=KEY)

    answer = await http.post(BATCHES, json=body | {"plan": "each"}, headers=KEY)

    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/key-reused"
    assert KEY["idempotency-key"] in answer.json()["detail"]
    assert count(rows, Batch) == 1


async def test_a_key_means_one_request_for_each_address(http, rows):
    body = await batch_body(http, rows)

    made = [
        await http.post(PATCH_SETS, json=SERIES | {"name": "keyed"}, headers=KEY),
        await http.post(BATCHES, json=body, headers=KEY),
    ]

    assert [answer.status_code for answer in made] == [201, 201]


async def test_a_cancelled_batch_answers_as_before(http, rows):
    rows.register_simulator()
    patch_set = (await http.post(PATCH_SETS, json=SERIES)).json()["id"]
    body = {"traces": [rows.add_trace(SEED_TRACES[0])], "patch_sets": [patch_set]}
    code = (await http.post(BATCHES, json=body)).json()["code"]

    answers = [await http.post(f"{BATCHES}/{code}/cancel", headers=KEY) for _ in range(2)]

    assert answers[1].content == answers[0].content
    assert answers[1].headers["idempotency-replayed"] == "true"


async def test_an_upload_sent_twice_under_one_key_is_answered_as_before(http):
    data = trace_bytes()

    first = await http.post(TRACES, content=data, headers=KEY)
    second = await http.post(TRACES, content=data, headers=KEY)
    other = await http.post(TRACES, content=trace_bytes(event_count=7), headers=KEY)
    renamed = await http.post(TRACES, params={"name": "x"}, content=data, headers=KEY)

    assert (first.status_code, second.status_code) == (201, 201)  # 200 without a key
    assert second.content == first.content
    assert (other.status_code, renamed.status_code) == (422, 422)
    assert renamed.json()["type"] == "/problems/key-reused"
    assert len((await http.get(TRACES)).json()["items"]) == 1


async def test_a_key_whose_request_is_being_answered_is_a_409(http):
    data = trace_bytes()
    begun, proceed = anyio.Event(), anyio.Event()
    answers = []

    async def slowly():
        yield data[:100]
        begun.set()
        await proceed.wait()
        yield data[100:]

    async def upload():
        answers.append(await http.post(TRACES, content=slowly(), headers=KEY))

    async with anyio.create_task_group() as group:
        group.start_soon(upload)
        with anyio.fail_after(PATIENCE_SECONDS):
            await begun.wait()
        early = await http.post(TRACES, content=data, headers=KEY)
        proceed.set()

    assert early.status_code == 409
    assert early.json()["type"] == "/problems/request-under-way"
    assert answers[0].status_code == 201
    late = await http.post(TRACES, content=data, headers=KEY)
    assert late.content == answers[0].content


@pytest.mark.parametrize("damaged", [trace_bytes()[:-1], b"no trace", b""])
async def test_a_refused_request_does_not_use_its_key_up(http, rows, damaged):
    refused = await http.post(TRACES, content=damaged, headers=KEY)
    assert refused.status_code == 422
    assert count(rows, IdempotencyKey) == 0

    assert (await http.post(TRACES, content=trace_bytes(), headers=KEY)).status_code == 201


async def test_a_refused_body_does_not_use_its_key_up(http, rows):
    for body, status in (({"name": 5}, 422), (SERIES | {"patches": ["none"]}, 422), (SERIES, 201)):
        assert (await http.post(PATCH_SETS, json=body, headers=KEY)).status_code == status
    missing = await http.post(f"{BATCHES}/b-none/cancel", headers=KEY)
    assert missing.status_code == 404
    assert count(rows, IdempotencyKey) == 1


async def test_a_key_is_forgotten_after_a_day(http, rows):
    body = await batch_body(http, rows)
    first = await http.post(BATCHES, json=body, headers=KEY)

    age(rows, years=0, months=0, weeks=0, days=0, hours=23)
    kept = await http.post(BATCHES, json=body, headers=KEY)
    age(rows, years=0, months=0, weeks=0, days=0, hours=2)
    forgotten = await http.post(BATCHES, json=body | {"plan": "each"}, headers=KEY)

    assert kept.content == first.content
    assert forgotten.status_code == 201
    assert count(rows, IdempotencyKey) == 1


async def test_a_key_left_by_a_server_that_died_is_free_after_an_hour(http, rows):
    with transaction(rows.engine) as session:
        session.add(
            IdempotencyKey(project_id=FIRST_PROJECT, key=KEY["idempotency-key"], route=PATCH_SETS)
        )

    early = await http.post(PATCH_SETS, json=SERIES, headers=KEY)
    age(rows, years=0, months=0, weeks=0, days=0, hours=1, minutes=1)
    late = await http.post(PATCH_SETS, json=SERIES, headers=KEY)

    assert (early.status_code, late.status_code) == (409, 201)


@pytest.mark.parametrize("key", ["", "two words", "x" * 201, "ä"])
async def test_a_key_that_cannot_be_one_is_refused(http, rows, key):
    headers = [(b"idempotency-key", key.encode())]
    answer = await http.post(PATCH_SETS, json=SERIES, headers=headers)

    assert answer.status_code == 422
    assert "Idempotency-Key: expected 1 to 200" in answer.json()["detail"]
    assert count(rows, IdempotencyKey) == 0


async def test_every_post_takes_a_key_and_says_so(http):
    document = (await http.get(f"{ROOT}/openapi.json")).json()
    posts = {
        path: operations["post"]
        for path, operations in document["paths"].items()
        if "post" in operations
    }

    assert {f"{BATCHES}", PATCH_SETS, TRACES, f"{BATCHES}/{{batch}}/cancel"} <= posts.keys()
    for path, operation in posts.items():
        named = [entry["name"] for entry in operation.get("parameters", [])]
        assert named.count("Idempotency-Key") == (path not in app.UNKEYED), path
        if path in app.UNKEYED:
            continue
        assert {"409", "422"} <= operation["responses"].keys(), path
    with_post = [
        route for router in app._NOUNS for route in router.routes if "POST" in route.methods
    ]
    assert len(with_post) == len(posts)
    for route in with_post:
        assert isinstance(route, OnceRoute) == (ROOT + route.path not in app.UNKEYED), route.path
