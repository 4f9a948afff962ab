import logging

import pytest

from db import errors as db_errors
from refault import errors
from services.api import refusals
from services.api.app import create_api
from services.api.errors import TYPES, type_of
from services.shared import limits
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/api/v1/nothing", 404, "not-found"),
        ("GET", "/api/v1/traces/", 404, "not-found"),
        ("GET", "/api/", 404, "not-found"),
        ("DELETE", "/api/v1/traces", 405, "method-not-allowed"),
        ("PUT", "/api/v1/batches/b-1/cancel", 405, "method-not-allowed"),
        ("POST", "/api/v1/batches", 422, "invalid-request"),
    ],
)
async def test_the_frameworks_own_refusals_are_problems_too(http, method, path, status, name):
    answer = await http.request(method, path)

    problem = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"/problems/{name}"
    assert problem["status"] == status
    assert problem["instance"] == path
    assert problem["request_id"] == answer.headers["x-request-id"]


async def test_a_405_says_what_is_allowed(http):
    answer = await http.delete("/api/v1/traces")

    assert set(answer.headers["allow"].split(", ")) >= {"POST"}


async def test_a_body_that_is_no_json_is_refused_at_its_character(http):
    answer = await http.post(
        "/api/v1/patch_sets",
        content=b'{"name": nope}',
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 422
    assert "character 9" in answer.json()["detail"]


async def test_a_body_that_is_far_too_large_is_refused(http):
    body = b'{"name": "' + b"n" * 2_000_000 + b'"}'
    answer = await http.post(
        "/api/v1/patch_sets", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_short_plain_request_id_is_kept_and_any_other_replaced(http):
    kept = await http.get("/healthz", headers={"x-request-id": "mine-1"})
    replaced = await http.get("/healthz", headers={"x-request-id": "a b\x7f" + "x" * 100})

    assert kept.headers["x-request-id"] == "mine-1"
    assert len(replaced.headers["x-request-id"]) == 16


async def test_a_defect_is_a_500_that_tells_the_log_and_not_the_caller(api_settings, token, caplog):
    api = create_api(api_settings)

    @api.get("/api/v1/defect")
    def defect():
        raise ZeroDivisionError("a secret")

    async with in_process(api, token) as http:
        with caplog.at_level(logging.ERROR):
            answer = await http.get("/api/v1/defect")
    api.state.resources.close()

    assert answer.status_code == 500
    assert answer.json()["type"] == "/problems/internal-error"
    assert "secret" not in answer.text
    assert "a secret" in caplog.text


async def test_every_problem_has_a_page_that_says_what_to_do(http):
    listed = (await http.get("/api/v1/problems")).json()["items"]

    assert {entry["name"] for entry in listed} == set(TYPES)
    for entry in listed:
        page = await http.get(entry["uri"])
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert len(entry["remedy"]) > 20
    assert (await http.get("/problems/nothing")).status_code == 404


def test_every_error_has_its_place_in_the_table():
    kinds = [errors.RefaultError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    # What only a worker or a command line meets is a defect when it reaches the API.
    foreign = (errors.CaptureError, errors.ImportFailed, errors.KernelError, errors.ReplayError,
               errors.ResultError, errors.Refused, errors.SynthFailed,
               db_errors.ServiceFault)  # fmt: skip
    names = {module.__name__ for module in (errors, db_errors, refusals, limits)}
    for kind in kinds[1:]:
        is_ours = kind.__module__ in names and not issubclass(kind, foreign)
        if is_ours and kind is not errors.ServiceError:
            assert type_of(kind("x")).name != "internal-error", kind


async def test_health_needs_nothing_and_readiness_names_what_is_missing(http):
    health = await http.get("/healthz")
    ready = await http.get("/readyz")

    assert health.json() == {"status": "ok"}
    assert ready.status_code == 503
    parts = ready.json()["parts"]
    assert {name for name, part in parts.items() if part["state"] == "ok"} == {
        "database", "schema", "storage",
    }  # fmt: skip
    assert parts["broker"]["state"] == "unavailable"
    assert "REFAULT_BROKER_URL" in parts["broker"]["remedy"]
