"""A trace is uploaded and a batch submitted in a real Chromium, with and without its scripts."""

import hashlib

import httpx
import pytest

from tests.fixtures.api import bearer, trace_bytes
from tests.fixtures.browser import needs_chromium
from tests.patience import PATIENCE_SECONDS

pytestmark = needs_chromium


@pytest.fixture
def http(live, token):
    with httpx.Client(
        base_url=live, headers=bearer(token), trust_env=False, timeout=PATIENCE_SECONDS
    ) as client:
        yield client


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "guest.rft"
    path.write_bytes(trace_bytes(name="boot", event_count=60_000))
    return path


@pytest.mark.parametrize("has_script", [True, False])
def test_a_newcomer_uploads_and_submits(open_page, live, http, rows, trace, has_script):
    rows.register_simulator()
    digest = hashlib.sha256(trace.read_bytes()).hexdigest()
    seen = open_page(java_script_enabled=has_script, viewport={"width": 390, "height": 900})
    page = seen.page

    page.goto(f"{live}/traces/new")
    page.get_by_label("Tags").fill("boot small")
    page.get_by_label("File").set_input_files(trace)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url(f"{live}/traces/{digest}?uploaded=new")
    assert http.get(f"/api/v1/traces/{digest}").json()["tags"] == ["boot", "small"]

    page.goto(f"{live}/batches/new?trace={digest}")
    page.get_by_label("Patches", exact=True).fill("p1 p2")
    page.get_by_role("button", name="Dry run").click()
    page.get_by_text("Dry run: 2 cells").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 if has_script else True
    page.get_by_role("button", name="Submit this batch").click()
    page.wait_for_url(f"{live}/batches/b-*")
    [batch] = http.get("/api/v1/batches").json()["items"]
    assert batch["submitted_by"] == "user anna"
    assert seen.was_quiet()


def test_an_upload_that_broke_off_goes_on(open_page, live, http, rows, trace):
    """The same file, chosen again in another page, is sent from where it ended."""
    content = trace.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    first = open_page()
    # The connection breaks after the upload was made, before its first part.
    first.page.route("**/api/v1/uploads/*", lambda route: route.abort())
    first.page.goto(f"{live}/traces/new")
    first.page.get_by_label("File").set_input_files(trace)
    with first.page.expect_response(lambda answer: answer.request.method == "POST"):
        first.page.get_by_role("button", name="Upload").click()
    first.page.get_by_role("button", name="Stop").click()
    first.page.get_by_text("Stopped. Choose the same file again").wait_for()
    [begun] = http.get(f"/api/v1/uploads?digest={digest}").json()["items"]

    second = open_page()
    second.page.goto(f"{live}/traces/new")
    second.page.get_by_label("File").set_input_files(trace)
    second.page.get_by_role("button", name="Upload").click()
    second.page.wait_for_url(f"{live}/traces/{digest}?uploaded=new")
    assert http.get(f"/api/v1/uploads/{begun['id']}").json()["state"] == "done"

    second.page.goto(f"{live}/traces/new")
    second.page.get_by_label("File").set_input_files(trace)
    second.page.get_by_role("button", name="Upload").click()
    second.page.wait_for_url(f"{live}/traces/{digest}?uploaded=present")
    assert second.was_quiet()


def test_a_damaged_trace_is_refused_where_it_was_chosen(open_page, live, rows, trace):
    content = bytearray(trace.read_bytes())
    content[len(content) // 2] ^= 1
    trace.write_bytes(content)
    seen = open_page()
    seen.page.goto(f"{live}/traces/new")
    seen.page.get_by_label("File").set_input_files(trace)
    seen.page.get_by_role("button", name="Upload").click()

    alert = seen.page.get_by_role("alert")
    alert.wait_for()

    assert "byte" in alert.inner_text()
    assert seen.page.get_by_role("button", name="Upload").is_enabled()
    assert rows.nothing_is_left()


def test_a_part_that_a_busy_service_refuses_is_sent_again_when_it_says(
    open_page, live, rows, trace
):
    digest = hashlib.sha256(trace.read_bytes()).hexdigest()
    seen = open_page()
    refused = []

    def busy(route):
        if route.request.method != "PATCH" or len(refused) == 2:
            route.fallback()
            return
        refused.append(route.request.headers["upload-offset"])
        status = (429, 503)[len(refused) - 1]
        route.fulfill(
            status=status,
            headers={"retry-after": "1"},
            content_type="application/problem+json",
            body='{"detail": "too many at once"}',
        )

    seen.page.route("**/api/v1/uploads/*", busy)
    seen.page.goto(f"{live}/traces/new")
    seen.page.get_by_label("File").set_input_files(trace)
    seen.page.get_by_role("button", name="Upload").click()
    seen.page.wait_for_url(f"{live}/traces/{digest}?uploaded=new")

    assert refused == ["0", "0"]


def test_a_trace_whose_note_names_another_is_not_taken_for_it(open_page, live, http, rows, trace):
    digest = hashlib.sha256(trace.read_bytes()).hexdigest()
    rows.add_trace("other", note=f"made from {digest}")
    seen = open_page()
    seen.page.goto(f"{live}/traces/new")
    seen.page.get_by_label("File").set_input_files(trace)
    seen.page.get_by_role("button", name="Upload").click()

    seen.page.wait_for_url(f"{live}/traces/{digest}?uploaded=new")
    assert seen.was_quiet()


def test_a_note_too_long_to_be_sent_is_refused_in_the_form(open_page, live, rows, trace):
    seen = open_page()
    asked = []
    seen.page.on("request", lambda request: asked.append(request.url))
    seen.page.goto(f"{live}/traces/new")
    seen.page.get_by_label("Note").fill("\u4e2d" * 5_000)
    seen.page.get_by_label("File").set_input_files(trace)
    asked.clear()
    seen.page.get_by_role("button", name="Upload").click()

    alert = seen.page.get_by_role("alert")
    alert.wait_for()
    assert "shorten the note" in alert.inner_text()
    assert asked == []
    seen.page.get_by_label("Note").fill("\u4e2d" * 3_000)
    seen.page.get_by_role("button", name="Upload").click()
    seen.page.wait_for_url("**uploaded=new")
    assert seen.was_quiet()
