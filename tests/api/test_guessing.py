"""Guessing passwords leads nowhere, and shuts nobody out: not strangers, not one's own logins."""

import anyio
import httpx
import pytest
import sqlalchemy as sa

from db import session as sessions
from db.models import AuditEntry, Device, LoginSession, RateWindow
from db.repositories import accounts, credentials
from services.api.app import create_api
from services.api.sessions import service
from services.api.site import Site
from services.dashboard.app import create_pages
from tests.api.test_tokens import logged_in
from tests.fixtures.api import PASSWORD

pytestmark = pytest.mark.anyio

SESSIONS = "/api/v1/sessions"
STRANGER, ANNA = "203.0.113.9", "198.51.100.7"


@pytest.fixture(autouse=True)
def _a_window_outlasts_the_test(monkeypatch):
    monkeypatch.setattr(service, "_WINDOW_SECONDS", 86_400)


def at(site, address):
    transport = httpx.ASGITransport(site, raise_app_exceptions=False, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://refault.test")


async def log_in(site, address, *, name="anna", password=PASSWORD, headers=None, **given):
    async with at(site, address) as client:
        body = {"name": name, "password": password} | given
        return await client.post(SESSIONS, json=body, headers=headers)


async def guess_until_refused(site, address, tries, **given):
    answers = [
        (await log_in(site, address, password="a wrong guess", **given)).status_code
        for _ in range(tries + 1)
    ]
    assert answers == [401] * tries + [429]


@pytest.fixture
def anna(rows):
    rows.add_user("anna", "maintainer")


async def test_a_stranger_elsewhere_shuts_nobody_out(site, anna, api_settings):
    await guess_until_refused(site, STRANGER, api_settings.login_tries)

    assert (await log_in(site, ANNA)).status_code == 201
    assert (await log_in(site, STRANGER)).status_code == 429


async def test_many_strangers_from_everywhere_shut_nobody_out(site, anna, api_settings):
    for number in range(api_settings.login_tries * 2):
        answer = await log_in(site, f"203.0.113.{number}", password="a wrong guess")
        assert answer.status_code == 401
    assert (await log_in(site, ANNA)).status_code == 201


async def test_a_browser_that_is_known_is_not_shut_out_by_anybody_at_its_own_address(
    site, anna, api_settings
):
    """As behind a proxy nobody has named, where all have one address."""
    device = (await log_in(site, ANNA)).json()["device"]
    await guess_until_refused(site, ANNA, api_settings.login_tries)
    for number in range(api_settings.login_tries):
        await log_in(site, ANNA, name=f"user{number}", password="a wrong guess")

    assert (await log_in(site, ANNA)).status_code == 429
    known = await log_in(site, ANNA, device=device)
    assert known.status_code == 201
    # It is known already, and gets no second name.
    assert known.json()["device"] is None


async def test_a_known_browser_guesses_no_more_than_an_unknown_one(site, anna, api_settings):
    device = (await log_in(site, ANNA)).json()["device"]
    await guess_until_refused(site, ANNA, api_settings.login_tries, device=device)
    assert (await log_in(site, ANNA, device=device)).status_code == 429
    # Its failures are its own.
    assert (await log_in(site, ANNA)).status_code == 201


@pytest.mark.parametrize("device", ["", "x", "rfd_" + "A" * 43, "rfd_\u2603"])
async def test_a_made_up_device_opens_no_further_guesses(site, anna, api_settings, device):
    await guess_until_refused(site, STRANGER, api_settings.login_tries, device=device)


async def test_the_device_of_one_account_says_nothing_for_another(site, rows, anna, api_settings):
    rows.add_user("bert", "viewer")
    device = (await log_in(site, ANNA, name="bert")).json()["device"]
    await guess_until_refused(site, STRANGER, api_settings.login_tries, device=device)


async def test_ones_own_successes_do_not_count(site, anna, api_settings):
    answers = [(await log_in(site, ANNA)).status_code for _ in range(api_settings.login_tries * 3)]
    assert set(answers) == {201}


async def test_ones_own_successes_at_the_same_time_do_not_count(site, anna, api_settings):
    answers = []

    async def one():
        answers.append((await log_in(site, ANNA)).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(api_settings.login_tries * 2):
            tasks.start_soon(one)
    assert set(answers) == {201}


async def test_guesses_at_the_same_time_are_no_more_than_one_after_the_other(
    site, anna, api_settings
):
    answers = []

    async def one():
        answer = await log_in(site, STRANGER, password="a wrong guess")
        answers.append(answer.status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(api_settings.login_tries * 3):
            tasks.start_soon(one)
    # As many more as are looked at at once.
    assert answers.count(401) < api_settings.login_tries + service.passwords.AT_ONCE
    assert answers.count(429) > 0


async def test_a_site_of_ipv6_is_one_place_whatever_address_it_takes(site, anna, api_settings):
    for number in range(api_settings.login_tries):
        answer = await log_in(site, f"2001:db8:1:2::{number + 1:x}", password="a wrong guess")
        assert answer.status_code == 401
    assert (await log_in(site, "2001:db8:1:2:ffff::1")).status_code == 429
    assert (await log_in(site, "2001:db8:1:3::1")).status_code == 201


async def test_a_wrong_old_password_counts_for_its_own_login_only(site, anna, api_settings):
    async with logged_in(site, "anna") as person:
        body = {"old": "not it, certainly", "new": PASSWORD}
        answers = [
            (await person.put("/api/v1/me/password", json=body)).status_code
            for _ in range(api_settings.login_tries + 1)
        ]
    assert answers == [403] * api_settings.login_tries + [429]
    assert (await log_in(site, ANNA)).status_code == 201


# --- rows -----------------------------------------------------------------------------------------


def counted(rows, model):
    with sessions.transaction(rows.engine) as opened:
        return opened.scalar(sa.select(sa.func.count()).select_from(model))


async def test_tries_that_are_refused_leave_no_rows(site, rows, anna, api_settings):
    await guess_until_refused(site, STRANGER, api_settings.login_tries)
    before = counted(rows, AuditEntry), counted(rows, RateWindow)

    for number in range(20):
        name = "anna" if number % 2 else f"user{number}"
        assert (await log_in(site, STRANGER, name=name)).status_code == 429

    assert (counted(rows, AuditEntry), counted(rows, RateWindow)) == before


async def test_the_audit_has_the_first_refused_login_and_the_one_too_many(
    site, rows, anna, api_settings
):
    await guess_until_refused(site, STRANGER, api_settings.login_tries)
    with sessions.transaction(rows.engine) as opened:
        query = sa.select(AuditEntry).where(AuditEntry.action == "login refused")
        found = opened.scalars(query).all()
    assert [(entry.actor, entry.address) for entry in found] == [("user anna", STRANGER)] * 2


async def test_the_audit_tells_of_no_more_than_so_many_refused_logins(
    site, rows, anna, monkeypatch
):
    monkeypatch.setattr(service, "AUDITED_WITHIN_HOUR", 3)
    for number in range(8):
        await log_in(site, f"203.0.113.{number}", password="a wrong guess")
    assert counted(rows, AuditEntry) == 3


async def test_logging_in_again_and_again_leaves_a_bounded_number_of_rows(
    site, rows, anna, monkeypatch
):
    monkeypatch.setattr(credentials, "SESSIONS_MAX", 3)
    monkeypatch.setattr(credentials, "DEVICES_MAX", 2)
    secrets = [(await log_in(site, ANNA)).json()["secret"] for _ in range(6)]
    assert (counted(rows, LoginSession), counted(rows, Device)) == (3, 2)
    with sessions.transaction(rows.engine) as opened:
        open_ones = [credentials.find(opened, secret) is not None for secret in secrets]
        assert open_ones == [False] * 3 + [True] * 3
        user = accounts.get_user(opened, "anna")
        assert credentials.find_device(opened, user, "rfd_x") is None


# --- whom a proxy speaks for ----------------------------------------------------------------------


@pytest.fixture
def behind(api_settings, rows):
    """A site that believes proxies at these addresses."""
    made = []

    def site(proxies):
        api = create_api(api_settings.model_copy(update={"proxies": proxies}))
        made.append(api)
        return Site(api, create_pages(api))

    yield site
    for api in made:
        api.state.resources.close()


def addresses(rows):
    with sessions.transaction(rows.engine) as opened:
        return list(opened.scalars(sa.select(AuditEntry.address).order_by(AuditEntry.id)))


@pytest.mark.parametrize(
    ("proxies", "peer", "told", "address"),
    [
        ("", "127.0.0.1", ANNA, "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1", ANNA, ANNA),
        ("127.0.0.0/8,::1", "::1", ANNA, ANNA),
        ("127.0.0.1", STRANGER, ANNA, STRANGER),
        ("127.0.0.1", "127.0.0.1", f"1.2.3.4, {ANNA}", ANNA),
        ("127.0.0.1, 10.0.0.0/8", "127.0.0.1", f"1.2.3.4, {ANNA}, 10.1.1.1", ANNA),
        ("127.0.0.1", "127.0.0.1", "not an address", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1", f"{ANNA}, <script>", "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("is_page", [False, True])
async def test_whom_a_proxy_speaks_for_is_believed_of_named_proxies_only(
    rows, anna, behind, proxies, peer, told, address, is_page
):
    async with at(behind(proxies), peer) as client:
        form = {"name": "anna", "password": PASSWORD}
        # What a caller writes itself comes first, in a line of its own.
        lines = [("x-forwarded-for", "192.0.2.66"), ("x-forwarded-for", told)]
        if is_page:
            answer = await client.post("/login", data=form, headers=lines)
        else:
            answer = await client.post(SESSIONS, json=form, headers=lines)
    assert answer.status_code == (303 if is_page else 201)
    assert addresses(rows)[-1] == address


async def test_a_stranger_behind_a_named_proxy_shuts_nobody_out(rows, anna, behind, api_settings):
    site = behind("127.0.0.1")
    for number in range(api_settings.login_tries + 1):
        headers = {"x-forwarded-for": f"192.0.2.{number}, {STRANGER}"}
        answer = await log_in(site, "127.0.0.1", password="a wrong guess", headers=headers)
    assert answer.status_code == 429
    assert (await log_in(site, "127.0.0.1", headers={"x-forwarded-for": ANNA})).status_code == 201
