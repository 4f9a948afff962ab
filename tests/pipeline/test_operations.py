"""What an operator sees of the whole service: one id from a request to its shards, and metrics."""

import json

import httpx

from tests.fixtures.api import bearer
from tests.patience import PATIENCE_SECONDS, eventually

REQUEST_ID = "ticket-4711.a"


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
        timeout=PATIENCE_SECONDS,
    )
    assert answer.status_code == 201, answer.text
    assert answer.headers["x-request-id"] == REQUEST_ID
    return answer.json()["code"]


def wait_until_over(client, code):
    def over():
        batch = client.get_batch(code)
        return batch if batch["finished_at"] else None

    return eventually(over, f"the end of {code}")


def metrics_of(stack):
    # Of the first account: whoever runs the service.
    headers = {"authorization": f"Bearer {stack.access.token}"}
    url = f"{stack.url}/metrics"
    return httpx.get(url, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS).text


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

    # The stack is up with its first worker; the second may still be loading the simulator.
    eventually(lambda: "refault_workers 2.0" in metrics_of(stack), "the second worker")
    metrics = metrics_of(stack)
    assert 'refault_shards{state="queued"} 0.0' in metrics
    assert "refault_workers 2.0" in metrics
    assert "refault_replayed_events_per_second{" in metrics
    assert 'route="/api/v1/batches/{batch}"' in metrics
