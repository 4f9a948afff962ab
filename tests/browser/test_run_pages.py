"""Runs, findings and answers in a real Chromium: readable anywhere, and live while computed."""

import httpx
import pytest

from db.repositories import documents
from tests.api.test_batch_audits import answer_all
from tests.api.test_questions import answer
from tests.builders import digest_of, make_broken, make_run_documents, transaction
from tests.dashboard.test_answers import VIEW
from tests.fixtures.api import SERIES, SIMULATOR, bearer
from tests.fixtures.browser import CONTRAST, PICTURES, needs_chromium
from tests.patience import PATIENCE_SECONDS

pytestmark = needs_chromium


@pytest.fixture
def runs(live, token, rows):
    """The runs of one trace, audited, with their documents."""
    digests = rows.ready_for_seed_series()
    with httpx.Client(
        base_url=live, headers=bearer(token), trust_env=False, timeout=PATIENCE_SECONDS
    ) as http:
        row = http.post("/api/v1/patch_sets", json=SERIES).json()["id"]
        body = {"traces": digests, "patch_sets": [row], "plan": "series", "audit": "flush"}
        code = http.post("/api/v1/batches", json=body).json()["code"]
        trace = digest_of("linux61-boot-1cpu")
        found = http.get(f"/api/v1/batches/{code}/runs", params={"trace": trace}).json()["items"]
    answer_all(rows, {"p2": [make_broken("F-H1", operation_index=41)]})
    with transaction(rows.engine) as session:
        for run in found:
            names = (run["trace_digest"], run["variant"]["digest"], SIMULATOR)
            documents.write(session, make_run_documents(*names))
    return found


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_fit_the_screen_and_can_be_read(open_page, live, runs, width, scheme):
    seen = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    PICTURES.mkdir(parents=True, exist_ok=True)
    run = f"/runs/{runs[2]['id']}?beside={runs[0]['id']}&counter=exits&view=difference"
    for name, address in {"run": run, "findings": "/findings"}.items():
        seen.page.goto(f"{live}{address}", wait_until="networkidle")
        seen.page.screenshot(path=PICTURES / f"{name}-{width}-{scheme}.png", full_page=True)

        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert seen.page.evaluate(CONTRAST) == [], name
    assert seen.was_quiet()


@pytest.mark.parametrize("has_script", [True, False])
def test_from_a_finding_to_its_run_and_into_the_mmu(open_page, live, rows, runs, has_script):
    seen = open_page(java_script_enabled=has_script)
    page = seen.page
    page.goto(f"{live}/findings?q=F-H1&trace={runs[0]['trace_digest']}")
    page.get_by_role("cell").get_by_role("link", name="linux61-boot-1cpu").click()
    page.locator("#audit ~ ol").get_by_role("link", name="Look there").click()
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("A worker answers it").wait_for()
    if has_script:
        page.evaluate("window.wasReloaded = false")
    answer(rows, {"answer": VIEW, "text": "as text\n"})

    page.get_by_role("heading", name="Before operation 40").wait_for()
    if has_script:
        assert page.evaluate("window.wasReloaded") is False
    page.get_by_role("button", name="1 on").first.click()
    page.get_by_text("A worker answers it").wait_for()
    page.go_back()
    page.get_by_role("heading", name="Before operation 40").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert seen.was_quiet()
