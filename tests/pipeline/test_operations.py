"""What an operator sees of the whole service: one id from a request to its shards, and metrics."""

import json
import time

import httpx

from tests.fixtures.api import bearer

REQUEST_ID = "ticket-4711.a"
PATIENCE_SECONDS = 120


def lines_of(stack, part):
    text = stack.folder.path("logs", f"{part}.log").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def submit(stack, client, capture, page_limit):
    digest = client.upload_trace(capture).trace["digest"]
    chosen = client.create_patch_set(
        "followed", base="v2.6.34-pre", patches=[], parameters={"page_limit": page_limit}
    )
    body = {"traces": [digest], "patch_sets": [chosen["id"]], "plan": "each"}
    answer = httpx.post(
        f"{stack.url}/api/v1/batches",
        json=body,
        headers={"x-request-id": REQUEST_ID, **bearer(stack.token)},
        trust_env=False,
    )
    assert answer.status_code == 201, answer.text
    assert answer.headers["x-request-id"] == REQUEST_ID
    return answer.json()["code"]


def wait_until_over(client, code):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        batch = client.get_batch(code)
        if batch["state"] in ("done", "failed", "cancelled"):
            return batch
        assert time.monotonic() < deadline, batch
        time.sleep(0.1)


def metrics_of(stack):
    return httpx.get(f"{stack.url}/metrics", trust_env=False).text


def test_one_id_leads_from_the_request_to_every_line_about_its_shard(stack, client, capture):
    code = submit(stack, client, capture, page_limit=301)
    assert wait_until_over(client, code)["state"] == "done"

    in_api = [line for line in lines_of(stack, "api") if line.get("request_id") == REQUEST_ID]
    assert any(line.get("batch") == code for line in in_api)
    assert any(line.get("status") == 201 for line in in_api)
    in_workers = [line for part in ("worker-1", "worker-2") for line in lines_of(stack, part)]
    of_shard = [line for line in in_workers if line.get("batch") == code]
    assert any("recorded" in line["message"] for line in of_shard)
    assert {line["request_id"] for line in of_shard} == {REQUEST_ID}
    assert {line["room"] for line in in_workers} == {"worker"}

    metrics = metrics_of(stack)
    deadline = time.monotonic() + PATIENCE_SECONDS
    # The stack is up with its first worker; the second may still be loading the simulator.
    while "refault_workers 2.0" not in metrics and time.monotonic() < deadline:
        time.sleep(0.2)
        metrics = metrics_of(stack)
    assert 'refault_shards{state="queued"} 0.0' in metrics
    assert "refault_workers 2.0" in metrics
    assert "refault_replayed_events_per_second{" in metrics
    assert 'route="/api/v1/batches/{batch}"' in metrics
