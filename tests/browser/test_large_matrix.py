"""A watched matrix of many cells: bounded elements, no handlers of its own, and small updates."""

import httpx
import pytest
import sqlalchemy as sa

from tests.builders import transaction
from tests.fixtures.api import bearer
from tests.fixtures.browser import needs_chromium
from tests.patience import PATIENCE_SECONDS

pytestmark = needs_chromium

TRACES, COLUMNS = 12, 20
CRASH = """
UPDATE runs SET state = 'failed', error = 'it broke' WHERE id = (
    SELECT runs.id FROM runs JOIN traces ON traces.id = runs.trace_id
    WHERE traces.name = 'guest 7' ORDER BY position DESC LIMIT 1)
"""
OBSERVE = """() => {
  window.added = [];
  new MutationObserver((all) => {
    for (const each of all) for (const node of each.addedNodes) window.added.push(node.nodeName);
  }).observe(document.querySelector('[data-part=overview] tbody'),
             { childList: true, subtree: true });
}"""


@pytest.fixture
def http(live, token):
    with httpx.Client(
        base_url=live, headers=bearer(token), trust_env=False, timeout=PATIENCE_SECONDS
    ) as client:
        yield client


def test_a_run_that_ends_changes_its_cell_and_nothing_else(open_page, live, http, rows):
    rows.register_simulator()
    traces = [rows.add_trace(f"guest {number}") for number in range(TRACES)]
    row = http.post("/api/v1/patch_sets", json={"name": "one", "patches": []}).json()
    axes = {"page_limit": [4_000 + place for place in range(COLUMNS)]}
    body = {"traces": traces, "patch_sets": [row["id"]], "plan": "matrix", "axes": axes}
    code = http.post("/api/v1/batches", json=body).json()["code"]
    seen = open_page()
    seen.page.goto(f"{live}/batches/{code}")
    cells = seen.page.locator("[data-part=overview] tbody td")
    assert cells.count() == TRACES * COLUMNS
    elements = seen.page.evaluate(
        "document.querySelectorAll('[data-part=overview] tbody *').length"
    )
    assert elements <= TRACES * (3 + 2 * COLUMNS)
    handlers = "[...document.querySelectorAll('.matrix *')].some(e => e.onclick || e.onkeydown)"
    assert not seen.page.evaluate(handlers)

    seen.page.evaluate(OBSERVE)
    with transaction(rows.engine) as session:
        session.execute(sa.text(CRASH))
    with seen.page.expect_response("**/parts*") as coming:
        http.post(f"/api/v1/batches/{code}/cancel")
    crashed = seen.page.locator("[data-part=overview] tbody").get_by_title("Crashed")
    crashed.first.wait_for()

    assert seen.page.evaluate("window.added") == ["TD"]
    assert crashed.count() == 1
    sent = coming.value.text().partition('data-part="overview"')[2].partition("</table>")[0]
    assert sent.count("<tr data-row=") == TRACES
    assert sent.count('<td class="heat') == COLUMNS, "one row of them"
    cells.first.locator("a").focus()
    seen.page.keyboard.press("ArrowDown")
    focused = "document.activeElement.closest('tr').rowIndex"
    assert seen.page.evaluate(focused) == 2
    assert seen.was_quiet()
