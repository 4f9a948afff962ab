"""A newcomer's way through a whole service, in the browser alone: with scripts and without."""

import re

import pytest

from tests.fixtures.browser import Watched, log_in, needs_chromium
from tests.fixtures.stack import DEMO_TRACES
from tests.patience import PATIENCE_SECONDS

pytestmark = needs_chromium


@pytest.fixture
def newcomer(chromium, stack):
    """Opens browsers of people who have logged in and know nothing else."""
    contexts = []

    def open_one(**given):
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, **given)
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        contexts.append(context)
        account = stack.access
        log_in(context, stack.url, account.password, name=account.user).close()
        seen = Watched(context)
        seen.page.goto(stack.url)
        return seen

    yield open_one
    for context in contexts:
        context.close()


# Another guest each: the second would find the first's results.
@pytest.mark.parametrize(
    ("has_script", "guest", "culprit"),
    [
        (True, "linux61-boot-1cpu", "3 parent-stop-bit"),
        (False, "linux61-workload-1cpu", "6 unsync-list-global"),
    ],
)
def test_from_a_file_to_a_report(newcomer, has_script, guest, culprit):
    seen = newcomer(java_script_enabled=has_script)
    page = seen.page
    page.get_by_role("navigation", name="Site").get_by_role("link", name="Traces").click()
    page.get_by_role("link", name="Upload", exact=False).first.click()
    page.get_by_label("File").set_input_files(DEMO_TRACES / f"{guest}.rft")
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url(re.compile("/traces/[0-9a-f]{64}"))
    assert page.get_by_role("heading", level=1).inner_text() == guest

    page.locator("a[href^='/batches/new']").first.click()
    assert page.get_by_label(guest).is_checked()
    page.get_by_label("Patches", exact=True).fill("series")
    page.get_by_role("radio", name="series").check()
    page.get_by_label("Audit").select_option("flush")
    page.get_by_role("button", name="Dry run").click()
    assert "5 cells" in page.locator("#estimate-title").inner_text()
    page.get_by_role("button", name="Submit this batch").click()
    page.wait_for_url(re.compile("/batches/b-[0-9a-z]+"))
    batch = page.url

    # It comes by itself: a script fetches what changed, and without one the page loads again.
    page.locator("#project-verdict").wait_for()
    page.get_by_text("5 of 5 done").wait_for()
    verdict = page.locator("#verdict").inner_text()
    assert f"do not\n{culprit}" in verdict, verdict

    page.locator("a[href*='/cell?'], a[href*='/runs/']").nth(2).click()
    page.get_by_role("link", name="where it parts from the base").click()
    page.get_by_role("button", name="Ask").click()
    page.wait_for_url("**/questions/*")
    page.get_by_role("heading", name=f"Divergence of {guest}").wait_for()
    page.locator("[role=status]").wait_for(state="detached")
    assert "There is no answer" not in page.locator("main").inner_text()

    page.goto(batch)
    page.get_by_role("link", name=".txt", exact=True).click()
    report = page.locator("pre").inner_text()
    assert guest in report
    assert "refault replay" in report
    page.go_back()
    assert page.url == batch
    assert page.locator("#project-verdict").is_visible()
    assert seen.was_quiet()


def test_two_people_see_each_others_batch_arrive(newcomer, stack, client):
    one, other = newcomer(), newcomer()
    trace = client.upload_trace(DEMO_TRACES / "linux61-workload-1cpu.rft").trace
    other.page.goto(f"{stack.url}/batches/new?trace={trace['digest']}")
    other.page.get_by_label("Patches", exact=True).fill("p6")
    other.page.get_by_role("button", name="Submit", exact=True).click()
    other.page.wait_for_url(re.compile("/batches/b-[0-9a-z]+"))
    code = other.page.url.rpartition("/")[2]

    one.page.get_by_role("link", name=code).first.wait_for()

    other.page.locator("#project-verdict").wait_for()
    assert one.was_quiet()
    assert other.was_quiet()
