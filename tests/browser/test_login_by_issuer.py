"""Logging in by an OpenID issuer in a real Chromium: cookies, redirects and policies for real."""

import shutil
import socket

import httpx
import pytest

from db import session
from db.models import FIRST_PROJECT
from db.repositories import accounts
from refault.client.connection import SESSION_COOKIE
from services.dashboard.issuer_door import COOKIE
from tests.fixtures.api import Server
from tests.fixtures.issuer import CLIENT_ID, CLIENT_SECRET

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium here; on Debian: apt-get install chromium"
    ),
]


@pytest.fixture
def context():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_context()
        browser.close()


@pytest.fixture
def address(api_settings, rows, issuer, tmp_path):
    """A server whose issuer is another site to a browser: localhost here, 127.0.0.1 there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    issuer.redirect_url = f"http://localhost:{port}/login/oidc/callback"
    (tmp_path / "secret").write_text(CLIENT_SECRET + "\n")
    given = {
        "ISSUER": issuer.url,
        "CLIENT_ID": CLIENT_ID,
        "CLIENT_SECRET_FILE": str(tmp_path / "secret"),
        "REDIRECT_URL": issuer.redirect_url,
        "NAME": "the kernel lab",
    }
    environment = {f"REFAULT_OIDC_{name}": value for name, value in given.items()}
    server = Server(api_settings, tmp_path / "server.log", port=port, **environment)
    try:
        server.wait_until_it_answers()
        yield f"http://localhost:{port}"
    finally:
        server.stop()


def test_a_click_on_the_button_leads_through_the_issuer_to_the_page_that_was_asked_for(
    context, address, rows
):
    with session.transaction(rows.engine) as opened:
        anna = accounts.add_user(opened, "anna", email="anna@example.org")
        accounts.set_role(opened, FIRST_PROJECT, anna, "viewer")
    rows.add_trace("boot")
    page = context.new_page()
    page.goto(f"{address}/?from=here")
    assert httpx.URL(page.url).path == "/login"

    page.get_by_role("link", name="Log in with the kernel lab").click()

    page.wait_for_url(f"{address}/?from=here")
    assert page.get_by_text("anna").first.is_visible()
    assert page.get_by_role("link", name="boot").first.is_visible()
    cookies = {cookie["name"]: cookie for cookie in context.cookies()}
    assert COOKIE not in cookies
    assert cookies[SESSION_COOKIE]["httpOnly"]
    assert cookies[SESSION_COOKIE]["sameSite"] == "Lax"
    # Going back leads past the issuer's answer, which is used up, to the form.
    page.go_back()
    assert httpx.URL(page.url).path == "/login"


def test_who_was_not_invited_reads_why_beside_the_form(context, address):
    page = context.new_page()
    page.goto(f"{address}/login")
    page.get_by_role("link", name="Log in with the kernel lab").click()

    assert "nobody has invited anna@example.org" in page.get_by_role("alert").inner_text()
    assert page.get_by_label("Password").is_visible()
    assert SESSION_COOKIE not in {cookie["name"] for cookie in context.cookies()}
