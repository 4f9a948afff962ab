"""Every endpoint of docs/openapi.json is asked by both clients, in the shape the API takes it."""

import inspect
import json
import re
from pathlib import Path

import anyio
import httpx
import pytest

from refault.audits import Level
from refault.client import AsyncClient, Client
from refault.errors import Refused
from refault.questions import Question
from tests.builders import digest_of
from tests.fixtures.api import trace_bytes

OPENAPI = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text("utf-8"))
#: How the bytes of a large file go: ``upload_trace`` asks these, see ``test_resumable.py``.
STEPS_OF_AN_UPLOAD = {
    ("OPTIONS", "/api/v1/uploads"),
    ("POST", "/api/v1/uploads"),
    ("POST", "/api/v1/uploads/{upload}"),
    ("HEAD", "/api/v1/uploads/{upload}"),
    ("PATCH", "/api/v1/uploads/{upload}"),
}
METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}
ENDPOINTS = [
    (method.upper(), path)
    for path, operations in OPENAPI["paths"].items()
    for method in operations
    if method in METHODS and (method.upper(), path) not in STEPS_OF_AN_UPLOAD
]
DIGEST = digest_of("x")
#: One call of each method: its arguments. A method that is missing here fails its test.
CALLS = {
    "put_blob": lambda file: ((file,), {}),
    "upload_trace": lambda file: ((file,), {}),
    "download_trace": lambda file: ((DIGEST, file.with_suffix(".down")), {}),
    "trace_course": lambda _: (("t",), {}),
    "get_trace": lambda _: (("t",), {}),
    "get_patch": lambda _: (("p",), {}),
    "create_patch_set": lambda _: (("n",), {"base": "b", "patches": []}),
    "get_patch_set": lambda _: (("s",), {}),
    "list_batches_of_patch": lambda _: (("p",), {}),
    "get_variant": lambda _: (("p1",), {}),
    "list_batches_of_variant": lambda _: ((DIGEST,), {}),
    "list_batches_of_patch_set": lambda _: (("s",), {}),
    "submit_batch": lambda _: ((["t"], ["s"]), {}),
    "estimate_batch": lambda _: ((["t"], ["s"]), {}),
    "get_batch": lambda _: (("b-1",), {}),
    "cancel_batch": lambda _: (("b-1",), {}),
    "get_run": lambda _: (("r",), {}),
    "get_timeline": lambda _: (("r",), {}),
    "list_findings": lambda _: (({"kind": "F-U1"},), {}),
    "list_finding_cells": lambda _: (({"known": True},), {}),
    "attribution_text": lambda _: (("r",), {}),
    "compared_text": lambda _: ((["b-1:0"],), {}),
    "imported_text": lambda _: (("i",), {}),
    "get_timelines": lambda _: (("r",), {"beside": ["s"]}),
    "get_attribution": lambda _: (("r",), {}),
    "ask": lambda _: ((Question(Level()), "t", "base"), {}),
    "get_question": lambda _: (("q",), {}),
    "wait_for_question": lambda _: (("q",), {}),
    "wait_for_audits": lambda _: (("b-1",), {}),
    "get_problem": lambda _: (("n",), {}),
    "list_runs": lambda _: (("b-1",), {"state": ["failed"]}),
    "comparison": lambda _: (("b-1",), {}),
    "comparison_page": lambda _: (("b-1",), {}),
    "compare_columns": lambda _: ((["b-1:0"],), {}),
    "comparison_text": lambda _: (("b-1",), {}),
    "push_kernel": lambda file: ((file,), {"name": "k"}),
    "upload_tree": lambda file: ((file,), {}),
    "create_kernel": lambda _: (("k", DIGEST, b"From x"), {}),
    "get_kernel": lambda _: (("k",), {}),
    "wait_for_kernel": lambda _: (("k",), {}),
    "request_builds": lambda _: (("k",), {"plan": "series"}),
    "delete_kernel": lambda _: (("k",), {}),
    "get_kernel_patch": lambda _: (("k", 1), {}),
    "create_note": lambda _: (("text",), {"patch": "p1"}),
    "change_note": lambda _: (("n", "text"), {}),
    "delete_note": lambda _: (("n",), {}),
    "change_trace": lambda _: (("t",), {"name": "n"}),
    "delete_trace": lambda _: (("t",), {}),
    "get_upload": lambda _: (("u",), {}),
    "end_upload": lambda _: (("u",), {}),
    "resume_batch": lambda _: (("b-1",), {}),
    "change_batch": lambda _: (("b-1", "v3"), {}),
    "retry_batch": lambda _: (("b-1",), {}),
    "share_batch": lambda _: (("b-1",), {}),
    "list_shares": lambda _: (("b-1",), {}),
    "revoke_share": lambda _: (("s",), {}),
    "read_mail": lambda _: ((b"From x",), {"mapping": ["1=-"]}),
    "set_thresholds": lambda _: (({"mmu_pte_updated": {"permille": 5}},), {}),
    "get_usage": lambda _: ((), {}),
    "set_limits": lambda _: ((60,), {}),
    "set_retention": lambda _: ((30,), {}),
    "create_webhook": lambda _: (("http://x",), {}),
    "get_webhook": lambda _: (("w",), {}),
    "delete_webhook": lambda _: (("w",), {}),
    "log_in": lambda _: (("n", "p"), {}),
    "finish_oidc": lambda _: (("s",), {"state": "x"}),
    "choose_project": lambda _: (("p",), {}),
    "change_password": lambda _: (("a", "b"), {}),
    "create_project": lambda _: (("p",), {"quota_traces": 3}),
    "set_member": lambda _: (("u", "viewer"), {}),
    "remove_member": lambda _: (("u",), {}),
    "create_user": lambda _: (("u",), {}),
    "change_user": lambda _: (("u",), {"is_enabled": False}),
    "mint_token": lambda _: (("n",), {"scopes": ["read"]}),
    "revoke_token": lambda _: (("t",), {}),
    "watch_batch": lambda _: (("b-1",), {}),
    "save_bundle": lambda file: (("b-1", file.with_suffix(".zip")), {}),
    "import_bundle": lambda _: ((b"PK",), {}),
    "get_imported": lambda _: (("i",), {}),
    "delete_bundle": lambda _: (("i",), {}),
}


def public_methods(client):
    # ``use_login`` changes who asks from then on; ``upload_stream`` is of one of the clients.
    hidden = {"close", "in_process", "upload_stream", "use_login"}
    return [
        name
        for name, _ in inspect.getmembers(client, callable)
        if not name.startswith("_") and name not in hidden
    ]


class Service:
    """Answers everything with a 404 problem, and remembers what was asked."""

    def __init__(self) -> None:
        self.seen = []

    def __call__(self, request):
        self.seen.append((request.method, request.url.path, request.headers.get("authorization")))
        problem = {"status": 404, "detail": "not here"}
        headers = {"content-type": "application/problem+json"}
        return httpx.Response(404, content=json.dumps(problem), headers=headers)


def arguments_of(name, file):
    return CALLS.get(name, lambda _: ((), {}))(file)


def ask_sync(file):
    service = Service()
    with Client("http://x", token="t0", transport=httpx.MockTransport(service)) as client:
        for name in public_methods(Client):
            given, named = arguments_of(name, file)
            try:
                answer = getattr(client, name)(*given, **named)
                if inspect.isgenerator(answer):
                    list(answer)
            except Refused:
                pass
    return service.seen


def ask_async(file):
    service = Service()

    async def ask():
        transport = httpx.MockTransport(service)
        async with AsyncClient("http://x", token="t0", transport=transport) as client:
            for name in public_methods(AsyncClient):
                given, named = arguments_of(name, file)
                try:
                    answer = getattr(client, name)(*given, **named)
                    if inspect.isasyncgen(answer):
                        async for _ in answer:
                            pass
                    else:
                        await answer
                except Refused:
                    pass

    anyio.run(ask)
    return service.seen


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "made.rft"
    path.write_bytes(trace_bytes(event_count=10))
    return path


@pytest.fixture(scope="module", params=[ask_sync, ask_async], ids=["Client", "AsyncClient"])
def seen(request, file):
    return request.param(file)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=" ".join)
def test_every_endpoint_has_a_method_that_asks_it(seen, endpoint):
    method, path = endpoint
    pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path))

    assert [asked for asked in seen if asked[0] == method and re.fullmatch(pattern, asked[1])], (
        f"no method of the client asks {method} {path}; add one to refault/client/asynchronous "
        "and to CALLS, then run `make client`"
    )


def test_every_request_carries_the_token_in_its_header(seen):
    assert {token for _, _, token in seen} == {"Bearer t0"}


def test_no_method_asks_what_the_api_does_not_have(seen):
    # The document itself is not in the document.
    known = [*ENDPOINTS, ("GET", "/api/v1/openapi.json")]
    patterns = [
        (method, re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path))) for method, path in known
    ]
    for asked, path, _ in seen:
        assert any(asked == m and re.fullmatch(p, path) for m, p in patterns), f"{asked} {path}"


def test_both_clients_have_the_same_methods_with_the_same_parameters():
    assert public_methods(Client) == public_methods(AsyncClient)
    for name in public_methods(Client):
        here = inspect.signature(getattr(Client, name)).parameters
        there = inspect.signature(getattr(AsyncClient, name)).parameters
        assert list(here) == list(there), name
