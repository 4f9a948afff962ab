"""The project's pages, notes, keys and imported bundles in a real Chromium."""

import io
import zipfile

import httpx
import pytest

from db import session
from db.repositories import accounts
from tests.bundle.test_bundle import made
from tests.fixtures.api import SERIES, bearer
from tests.fixtures.browser import CONTRAST, PICTURES, needs_chromium
from tests.patience import PATIENCE_SECONDS

pytestmark = needs_chromium


@pytest.fixture
def filled(live, token, rows):
    """A batch with a note, and an imported bundle; their addresses."""
    digests = rows.ready_for_seed_series()
    rows.add_user("otto", "viewer")
    with httpx.Client(
        base_url=f"{live}/api/v1",
        headers=bearer(token),
        trust_env=False,
        timeout=PATIENCE_SECONDS,
    ) as http:
        row = http.post("/patch_sets", json=SERIES).json()["id"]
        body = {"traces": digests, "patch_sets": [row], "plan": "series"}
        code = http.post("/batches", json=body).json()["code"]
        column = http.get(f"/batches/{code}").json()["columns"][3]
        note = {"batch": code, "trace": digests[1], "variant": column["variant"]["digest"]}
        told = "Known since the mail of 15 April:\nmended by patch 6."
        assert http.post("/notes", json=note | {"text": told}).status_code == 201
        http.post("/notes", json={"patch": "zap-account", "text": "Merge it."})
        zipped = {"content-type": "application/zip"}
        bundle = http.post("/bundles", content=made(), headers=zipped).json()["id"]
    return {
        "project": "/project",
        "audit": "/project/audit",
        "notes": f"/batches/{code}",
        "patch-notes": "/patches/zap-account",
        "bundles": "/bundles",
        "bundle": f"/bundles/{bundle}",
        "keys": "/help/keys",
    }


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_fit_the_screen_and_can_be_read(open_page, live, rows, filled, width, scheme):
    seen = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, address in filled.items():
        seen.page.goto(f"{live}{address}", wait_until="networkidle")
        seen.page.screenshot(path=PICTURES / f"{name}-{width}-{scheme}.png", full_page=True)

        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert seen.page.evaluate(CONTRAST) == [], name
    assert seen.was_quiet()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_an_administrator_reads_how_the_service_runs(open_page, live, rows, filled, width, scheme):
    seen = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    with session.transaction(rows.engine) as opened:
        accounts.get_user(opened, "anna").is_admin = True
    PICTURES.mkdir(parents=True, exist_ok=True)
    seen.page.goto(f"{live}{filled['project']}", wait_until="networkidle")
    seen.page.get_by_role("link", name="Operations").click()
    seen.page.get_by_role("heading", name="Workers").wait_for()
    picture = PICTURES / f"operations-{width}-{scheme}.png"
    seen.page.screenshot(path=picture, full_page=True)

    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.page.evaluate(CONTRAST) == []
    assert seen.was_quiet()


def test_keys_search_list_themselves_and_go_through_tables(open_page, live, filled):
    seen = open_page()
    page = seen.page
    page.goto(f"{live}/batches", wait_until="networkidle")

    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.type("a?b")
    assert page.get_by_role("searchbox").first.input_value().endswith("a?b")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    dialog.wait_for()
    assert dialog.get_by_text("to the search of this page").is_visible()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")

    page.goto(f"{live}/project/audit", wait_until="networkidle")
    links = page.locator("tbody tr").first.get_by_role("link")
    links.nth(0).focus()
    page.keyboard.press("ArrowRight")
    focused = "document.activeElement.getAttribute('href')"
    assert page.evaluate(focused) == links.nth(1).get_attribute("href")
    page.keyboard.press("Home")
    assert page.evaluate(focused) == links.nth(0).get_attribute("href")
    page.keyboard.press("ArrowDown")
    below = page.locator("tbody tr").nth(1).get_by_role("link").nth(0)
    assert page.evaluate(focused) == below.get_attribute("href")
    assert seen.was_quiet()


def test_a_token_is_made_without_a_script(open_page, live):
    seen = open_page(java_script_enabled=False)
    page = seen.page
    page.goto(f"{live}/project")
    form = page.get_by_role("form", name="Make a token")
    form.get_by_label("Name").fill("ci")
    form.get_by_label("submit").check()
    form.get_by_role("button", name="Make token").click()

    secret = page.get_by_label("Secret").input_value()
    assert secret.startswith("rft_")
    answer = httpx.get(f"{live}/api/v1/me", headers=bearer(secret), trust_env=False)
    assert answer.json()["scopes"] == ["read", "submit"]


def test_a_bundle_opens_from_a_file_without_network_and_without_script(chromium, tmp_path):
    with zipfile.ZipFile(io.BytesIO(made())) as archive:
        archive.extractall(tmp_path)
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"file://{tmp_path}/refault-b-7k3f/index.html")

    assert page.get_by_role("heading", level=1).inner_text().startswith("Series of 12 April")
    # The style sheet was let in by the page's own policy.
    assert page.evaluate("getComputedStyle(document.body).maxWidth") != "none"
    page.get_by_role("link", name="linux61-boot-1cpu").click()
    assert page.get_by_text("114,347").first.is_visible()
    assert complaints == []
    context.close()
