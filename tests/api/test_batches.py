import base64
import json
import uuid

import anyio
import pytest
import redis
import sqlalchemy as sa

from db.models import Shard
from db.repositories import batches as batch_rows
from services.api.app import create_api
from tests.builders import digest_of, transaction
from tests.fixtures.api import SEED_TRACES, SERIES, SIMULATOR, in_process, runs_of
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

BATCHES = "/api/v1/batches"


async def patch_set(http, body=SERIES):
    return (await http.post("/api/v1/patch_sets", json=body)).json()["id"]


async def test_a_batch_of_known_results_is_done_at_once_and_simulates_nothing(http, rows):
    digests = rows.ready_for_seed_series()
    body = {"traces": digests, "patch_sets": [await patch_set(http)], "plan": "series"}

    answer = await http.post(BATCHES, json=body)

    batch = answer.json()
    assert answer.status_code == 201
    assert batch["state"] == "done"
    assert batch["notice"] is None
    assert batch["simulator_digest"] == SIMULATOR
    assert [column["label"] for column in batch["columns"]] == [
        "base", "1", "1-2", "1-3", "1-4", "1-5", "1-6",
    ]  # fmt: skip
    # Patches 1 and 5 change no behaviour, so seven columns are five machines.
    assert batch["progress"] | {"events_done": 0, "events_total": 0} == {
        "total": 10, "done": 10, "cached": 10, "failed": 0, "cancelled": 0, "finished": 10,
        "events_done": 0, "events_total": 0,
    }  # fmt: skip
    assert {run["state"] for run in await runs_of(http, batch["code"])} == {"cached"}
    assert (await http.get(answer.headers["location"])).json() == batch


async def test_a_run_has_its_result_and_the_result_its_digest(http, rows):
    digests = rows.ready_for_seed_series()
    body = {"traces": digests[1:], "patch_sets": [await patch_set(http)], "plan": "series"}
    batch = (await http.post(BATCHES, json=body)).json()

    [listed, *_] = await runs_of(http, batch["code"])
    run = (await http.get(f"/api/v1/runs/{listed['id']}")).json()

    assert run["result"]["counters"]["exits"] == 96185
    assert run["trace_digest"] == digest_of("linux61-boot-1cpu")
    assert len(run["result_digest"]) == 64
    assert run["integrity_alarm"] is None


async def test_a_run_that_is_not_there_is_a_404(http):
    assert (await http.get(f"/api/v1/runs/{uuid.uuid4()}")).status_code == 404
    assert (await http.get("/api/v1/runs/nonsense")).status_code == 422


async def test_a_batch_is_accepted_with_the_broker_down_and_says_so(http, rows):
    rows.register_simulator()
    digest = rows.add_trace("boot")

    answer = await http.post(
        BATCHES, json={"traces": [digest], "patch_sets": [await patch_set(http)]}
    )

    batch = answer.json()
    assert answer.status_code == 201
    assert batch["state"] == "queued"
    assert "the broker took 0 of 1 messages" in batch["notice"]
    assert batch["progress"]["events_total"] == 2_000_000


async def test_a_message_for_each_shard_is_sent_once_the_rows_are_there(
    api_settings, rows, token, broker_url
):
    api = create_api(api_settings.model_copy(update={"broker_url": broker_url}))
    rows.register_simulator()
    digests = [rows.add_trace(name) for name in SEED_TRACES]
    async with in_process(api, token) as http:
        ready = (await http.get("/readyz")).json()
        body = {"traces": digests, "patch_sets": [await patch_set(http)], "plan": "series"}
        batch = (await http.post(BATCHES, json=body)).json()
    api.state.resources.close()

    assert ready["parts"]["broker"]["state"] == "ok"
    assert batch["notice"] is None
    with redis.Redis.from_url(broker_url) as broker:
        sent = [json.loads(message) for message in broker.lrange("shards", 0, -1)]
    assert {message["headers"]["task"] for message in sent} == {"shard.run"}
    arguments = [json.loads(base64.b64decode(message["body"]))[1] for message in sent]
    with transaction(rows.engine) as session:
        shards = session.scalars(sa.select(Shard)).all()
    assert {(each["shard_id"], each["attempt"]) for each in arguments} == {
        (str(shard.id), 1) for shard in shards
    }
    assert len(sent) == len(shards) > 1


async def test_an_equal_batch_under_way_is_answered_instead_of_a_second_one(http, rows):
    rows.register_simulator()
    body = {"traces": [rows.add_trace("boot")], "patch_sets": [await patch_set(http)]}
    first = await http.post(BATCHES, json=body)

    second = await http.post(BATCHES, json=body)

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["code"] == first.json()["code"]
    assert "was running already" in second.json()["notice"]


async def nothing_planned(http):
    return (await http.get(BATCHES)).json()["items"] == []


@pytest.mark.parametrize(
    ("empty", "pointer"), [("traces", "/traces"), ("patch_sets", "/patch_sets")]
)
async def test_a_batch_with_nothing_to_run_is_refused(http, rows, empty, pointer):
    rows.register_simulator()
    body = {"traces": [rows.add_trace("boot")], "patch_sets": [await patch_set(http)]}

    answer = await http.post(BATCHES, json=body | {empty: []})

    problem = answer.json()
    assert answer.status_code == 422
    assert problem["type"] == "/problems/empty-batch"
    assert "nothing to run" in problem["detail"]
    assert problem["errors"][0]["pointer"] == pointer
    assert await nothing_planned(http)


async def test_a_trace_that_is_not_there_is_a_404_with_its_place(http, rows):
    rows.register_simulator()
    body = {
        "traces": [rows.add_trace("boot"), digest_of("nothing")],
        "patch_sets": [await patch_set(http)],
    }

    answer = await http.post(BATCHES, json=body)

    assert answer.status_code == 404
    assert answer.json()["errors"][0]["pointer"] == "/traces/1"
    assert await nothing_planned(http)


async def test_a_patch_set_that_is_not_there_is_a_404_with_its_place(http, rows):
    rows.register_simulator()
    body = {"traces": [rows.add_trace("boot")], "patch_sets": [str(uuid.uuid4())]}

    answer = await http.post(BATCHES, json=body)

    assert answer.status_code == 404
    assert answer.json()["errors"][0]["pointer"] == "/patch_sets/0"
    assert await nothing_planned(http)


async def test_without_a_simulator_a_batch_is_a_503_with_the_remedy(http, rows):
    body = {"traces": [rows.add_trace("boot")], "patch_sets": [await patch_set(http)]}

    answer = await http.post(BATCHES, json=body)

    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/no-simulator"
    assert "worker" in answer.json()["detail"]
    assert await nothing_planned(http)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"traces": [], "patch_sets": [], "plan": "all"}, "/plan"),
        ({"traces": [], "patch_sets": ["x"]}, "/patch_sets/0"),
        ({"traces": ["a\0"], "patch_sets": []}, "/traces/0"),
        ({"patch_sets": []}, "/traces"),
        ({"traces": [], "patch_sets": [], "a/b~": 1}, "/a~1b~0"),
    ],
)
async def test_a_body_that_cannot_be_is_refused_with_its_place(http, body, pointer):
    answer = await http.post(BATCHES, json=body)

    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


@pytest.mark.parametrize("name", ["b-none", "nothing", "01a20da3-0000-7000-8000-000000000000"])
async def test_a_batch_that_is_not_there_is_a_404_everywhere(http, name):
    for method, path in (
        ("GET", f"{BATCHES}/{name}"),
        ("GET", f"{BATCHES}/{name}/events"),
        ("POST", f"{BATCHES}/{name}/cancel"),
        ("GET", f"/api/v1/comparisons/{name}"),
        ("GET", f"/api/v1/comparisons/{name}.txt"),
    ):
        answer = await http.request(method, path)
        assert answer.status_code == 404, path
        assert answer.json()["type"] == "/problems/not-found"


async def queued_batch(http, rows):
    rows.register_simulator()
    body = {"traces": [rows.add_trace("boot")], "patch_sets": [await patch_set(http)]}
    return (await http.post(BATCHES, json=body)).json()["code"]


async def test_a_waiting_batch_is_cancelled_at_once_and_only_once(http, rows):
    code = await queued_batch(http, rows)

    first = await http.post(f"{BATCHES}/{code}/cancel")
    second = await http.post(f"{BATCHES}/{code}/cancel")

    assert first.json()["state"] == "cancelled"
    assert first.json()["progress"]["cancelled"] == 1
    assert second.json() == first.json()


async def test_a_batch_that_is_done_cannot_be_cancelled(http, rows):
    digests = rows.ready_for_seed_series()
    body = {"traces": digests, "patch_sets": [await patch_set(http)], "plan": "series"}
    code = (await http.post(BATCHES, json=body)).json()["code"]

    answer = await http.post(f"{BATCHES}/{code}/cancel")

    assert answer.status_code == 409
    assert "nothing to cancel" in answer.json()["detail"]


def events_of(text):
    """The events of a stream, by a parser that shares nothing with ours."""
    found = []
    for part in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in part.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
    return found


async def test_a_finished_batch_tells_its_story_and_ends(http, rows):
    digests = rows.ready_for_seed_series()
    body = {"traces": digests, "patch_sets": [await patch_set(http)], "plan": "series"}
    code = (await http.post(BATCHES, json=body)).json()["code"]

    answer = await http.get(f"{BATCHES}/{code}/events")

    assert answer.headers["content-type"].startswith("text/event-stream")
    event, event_id, data = events_of(answer.text)[-1]
    assert event == "finished"
    assert event_id.isdecimal()
    assert data["state"] == "done"
    assert data["progress"]["finished"] == 10


async def test_who_resumes_after_the_last_event_is_told_that_it_was_the_last(http, rows):
    code = await queued_batch(http, rows)
    await http.post(f"{BATCHES}/{code}/cancel")
    story = events_of((await http.get(f"{BATCHES}/{code}/events")).text)
    ids = [event_id for _, event_id, _ in story]

    rest = await http.get(f"{BATCHES}/{code}/events", headers={"last-event-id": ids[-1]})
    middle = await http.get(f"{BATCHES}/{code}/events", headers={"last-event-id": ids[0]})

    assert ids == sorted(ids, key=int)
    assert len(ids) > 2
    assert [event for event, _, _ in events_of(rest.text)] == ["finished"]
    assert events_of(middle.text) == story[1:]


async def test_a_stream_waits_for_what_comes_and_ends_with_it(http, rows):
    code = await queued_batch(http, rows)
    texts = []

    async def watch():
        with anyio.fail_after(PATIENCE_SECONDS):
            texts.append((await http.get(f"{BATCHES}/{code}/events")).text)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await anyio.sleep(0.1)
        assert not texts
        await http.post(f"{BATCHES}/{code}/cancel")

    kinds = [data["kind"] for _, _, data in events_of(texts[0])]
    assert kinds[0] == "batch.planned"
    assert kinds[-1] == "batch.cancelled"


async def test_an_event_id_that_is_none_is_refused(http, rows):
    code = await queued_batch(http, rows)

    answer = await http.get(f"{BATCHES}/{code}/events", headers={"last-event-id": "x"})

    assert answer.status_code == 422
    assert "Last-Event-ID" in answer.json()["detail"]


async def test_batches_are_listed_newest_first_without_their_columns(http, rows):
    rows.register_simulator()
    sets = [await patch_set(http)]
    codes = [
        (await http.post(BATCHES, json={"traces": [rows.add_trace(name)], "patch_sets": sets}))
        .json()["code"]
        for name in SEED_TRACES
    ]  # fmt: skip

    items = (await http.get(BATCHES)).json()["items"]

    assert [item["code"] for item in items] == codes[::-1]
    assert all("columns" not in item for item in items)


async def test_a_batch_is_found_by_its_id_too(http, rows):
    code = await queued_batch(http, rows)
    with transaction(rows.engine) as session:
        row_id = batch_rows.get(session, code).id

    assert (await http.get(f"{BATCHES}/{row_id}")).json()["code"] == code
