"""Help, patches, patch sets and mails in a real Chromium, with scripts and without."""

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.fixtures.api import SERIES, bearer
from tests.fixtures.browser import CONTRAST, PICTURES, needs_chromium
from tests.patience import PATIENCE_SECONDS
from tests.series.mails import diff, mail, mbox

pytestmark = needs_chromium


@pytest.fixture
def patch_set(live, token, rows):
    """The page of a patch set with a batch whose results are known."""
    digests = rows.ready_for_seed_series()
    with httpx.Client(
        base_url=live, headers=bearer(token), trust_env=False, timeout=PATIENCE_SECONDS
    ) as http:
        row = http.post("/api/v1/patch_sets", json=SERIES).json()["id"]
        body = {"traces": digests, "patch_sets": [row], "plan": "series"}
        assert http.post("/api/v1/batches", json=body).status_code == 201
    return f"/patch_sets/{row}"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_fit_the_screen_and_can_be_read(open_page, live, patch_set, width, scheme):
    seen = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    PICTURES.mkdir(parents=True, exist_ok=True)
    pages = {
        "help": "/help?q=flush",
        "api": "/help/api",
        "patches": "/patches?form_of=cr4-posted",
        "patch": "/patches/cr4-posted",
        "patch-set": patch_set,
        "patch-sets": "/patch_sets",
        "mails": "/patch_sets/read",
    }
    for name, address in pages.items():
        seen.page.goto(f"{live}{address}", wait_until="networkidle")
        seen.page.screenshot(path=PICTURES / f"{name}-{width}-{scheme}.png", full_page=True)

        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert seen.page.evaluate(CONTRAST) == [], name
        assert Axe().run(seen.page).response["violations"] == [], name
    assert seen.was_quiet()


@pytest.mark.parametrize("has_script", [True, False])
def test_mails_become_a_patch_set_by_hand(open_page, live, rows, has_script):
    mails = mbox(mail("[PATCH 1/2] zap less"), mail("[PATCH 2/2] a test for it", diff("z")))
    seen = open_page(java_script_enabled=has_script)
    page = seen.page
    page.goto(f"{live}/patch_sets")
    page.get_by_role("link", name="Make one from mails").click()
    page.get_by_label("A file").set_input_files(
        {"name": "series.mbox", "mimeType": "application/mbox", "buffer": mails}
    )
    page.get_by_role("button", name="Read", exact=True).click()
    page.get_by_text("0 of 2 matched").wait_for()

    page.get_by_label("Patch for zap less").select_option("zap-account")
    page.get_by_label("Patch for a test for it").select_option("-")
    page.get_by_role("button", name="Read again").click()
    page.get_by_text("1 of 2 matched").wait_for()
    if has_script:
        assert Axe().run(page).response["violations"] == []
        page.screenshot(path=PICTURES / "mails-read.png", full_page=True)
    page.get_by_label("Name").fill("by hand")
    page.get_by_role("button", name="Make the patch set").click()

    page.get_by_role("heading", level=1, name="by hand").wait_for()
    assert "zap-account" in page.locator(".tree").inner_text()
    page.get_by_role("link", name="Submit a batch of it").click()
    page.get_by_role("heading", level=1).wait_for()
    assert page.url.startswith(f"{live}/batches/new?patch_set=")
    assert seen.was_quiet()


def test_a_head_of_a_row_leads_to_its_word_and_the_way_back_restores_the_view(
    open_page, live, patch_set
):
    seen = open_page()
    seen.page.goto(f"{live}{patch_set}")
    seen.page.locator("#runs tbody a").first.click()
    table = seen.page.url
    seen.page.get_by_role("link", name="parent_marks").first.click()

    assert seen.page.url == f"{live}/help#parent_marks"
    word = seen.page.locator("#parent_marks")
    assert "Links visited while the ancestors" in word.inner_text()
    assert word.evaluate("box => box.getBoundingClientRect().top") < 900
    seen.page.go_back()
    assert seen.page.url == table
    assert seen.was_quiet()
