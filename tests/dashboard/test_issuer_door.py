"""Logging in by an OpenID issuer: a browser, the service, and a provider on loopback."""

from urllib.parse import parse_qsl, urlsplit

import pytest
import sqlalchemy as sa

from db import session
from db.models import Identity, LoginFlow, User
from db.repositories import accounts, identities
from refault.client.connection import SESSION_COOKIE
from services.api.app import create_api
from services.api.oidc import service
from services.api.site import Site
from services.dashboard.app import create_pages
from services.dashboard.issuer_door import COOKIE
from tests.dashboard.test_pages import Page
from tests.fixtures.api import PASSWORD
from tests.fixtures.browsing import Browser, all_of, audited, refused
from tests.fixtures.issuer import CLIENT_SECRET, elliptic_key

pytestmark = pytest.mark.anyio


async def test_whoever_was_invited_is_let_in_and_led_on(browser, rows, issuer, invited):
    answer = await browser.log_in(next="/traces/12345678?x=1")

    assert answer.status_code == 303
    assert answer.headers["location"] == "/traces/12345678?x=1"
    cookie = next(c for c in answer.headers.get_list("set-cookie") if SESSION_COOKIE in c).lower()
    assert cookie.startswith(f"{SESSION_COOKIE}=rfl_")
    for part in ("httponly", "samesite=lax", "secure", "path=/"):
        assert part in cookie
    page = await browser.get("/")
    assert "anna" in Page(page).text
    me = (await browser.get("/api/v1/me")).json()
    assert (me["kind"], me["user"], me["role"]) == ("session", "anna", "contributor")
    [identity] = all_of(rows, Identity)
    assert (identity.issuer, identity.subject) == (issuer.url, "person-1")
    linked, login = audited(rows)
    assert linked[:2] == ("user anna", "login linked")
    assert login[:2] == ("user anna", "login")
    assert login[3] == {"issuer": issuer.url, "person": "person-1"}
    # Nothing of the login is left, here or in the browser.
    assert all_of(rows, LoginFlow) == []
    assert COOKIE not in browser.http.cookies


async def test_what_goes_to_the_issuer_holds_a_challenge_and_no_secret(
    browser, rows, issuer_settings
):
    address = await browser.leave()
    asked = dict(parse_qsl(urlsplit(address).query))
    [flow] = all_of(rows, LoginFlow)
    cookie = browser.http.cookies[COOKIE]

    assert asked["code_challenge_method"] == "S256"
    assert asked["nonce"] == flow.nonce
    for secret in (cookie, flow.code_verifier, CLIENT_SECRET):
        assert secret not in address
    assert len(asked["state"]) >= 43
    assert CLIENT_SECRET not in repr(issuer_settings)


async def test_the_next_login_goes_by_the_subject_whatever_the_address(
    browsers, rows, issuer, invited
):
    await browsers().log_in()
    issuer.person |= {"email": "anna@new.example", "email_verified": False}
    again = browsers()

    assert (await again.log_in()).status_code == 303
    assert again.is_in()
    assert len(all_of(rows, Identity)) == 1


async def test_another_person_with_the_address_of_one_who_is_linked_stays_out(
    browsers, rows, issuer, invited
):
    await browsers().log_in()
    issuer.person["sub"] = "person-2"
    other = browsers()
    answer = await other.log_in()

    assert answer.status_code == 403
    assert "linked to another login" in Page(answer).text
    assert not other.is_in()
    assert [row.subject for row in all_of(rows, Identity)] == ["person-1"]


@pytest.mark.parametrize("verified", [False, None, "true", "false", 1])
async def test_an_address_the_issuer_has_not_verified_links_nobody(
    browser, rows, issuer, invited, verified
):
    issuer.person["email_verified"] = verified
    answer = await browser.log_in()
    assert refused(rows, browser, answer, 403, "has verified no e-mail address")


async def test_who_was_not_invited_gets_no_account(browser, rows, issuer):
    rows.add_user("anna@example.org", "maintainer")
    before = len(all_of(rows, User))
    answer = await browser.log_in()
    assert refused(rows, browser, answer, 403, "nobody has invited anna@example.org")
    assert len(all_of(rows, User)) == before


async def test_with_a_domain_its_people_get_an_account_without_any_role(
    issuer_settings, rows, issuer
):
    api = create_api(
        issuer_settings.model_copy(update={"oidc_domains": "example.org, other.example"})
    )
    browser = Browser(Site(api, create_pages(api)))
    answer = await browser.log_in()
    me = (await browser.get("/api/v1/me")).json()
    home = await browser.get("/")
    assert answer.status_code == 303
    assert (me["user"], me["role"], me["project"]) == ("anna@example.org", None, None)
    assert (me["is_admin"], me["scopes"], me["projects"]) == (False, [], [])
    assert home.status_code == 403
    [user] = all_of(rows, User)
    assert user.password_hash is None

    for email in ("eve@evil-example.org", "eve@example.org.evil.test", "eve+x@example.org"):
        issuer.person = {"sub": email, "email": email, "email_verified": True}
        other = Browser(Site(api, create_pages(api)))
        assert (await other.log_in()).status_code == 403
        assert not other.is_in()
    assert len(all_of(rows, User)) == 1
    api.state.resources.close()


async def test_who_is_shut_out_stays_out(browsers, rows, invited):
    await browsers().log_in()
    with session.transaction(rows.engine) as opened:
        accounts.set_enabled(opened, accounts.get_user(opened, "anna"), enabled=False)
    browser = browsers()
    answer = await browser.log_in()
    assert answer.status_code == 403
    assert "disabled" in Page(answer).text
    assert not browser.is_in()


async def test_an_address_written_anew_ends_the_link(browsers, rows, issuer, invited):
    await browsers().log_in()
    with session.transaction(rows.engine) as opened:
        identities.invite(opened, accounts.get_user(opened, "anna"), "anna@example.org")
    issuer.person["sub"] = "person-2"
    assert (await browsers().log_in()).status_code == 303
    assert [row.subject for row in all_of(rows, Identity)] == ["person-2"]


async def test_a_wrong_state_is_refused_and_ends_nothing(browser, rows, issuer, invited):
    address = await browser.at_issuer(await browser.leave())
    code = dict(parse_qsl(urlsplit(address).query))["code"]
    for state in ("x", "", "A" * 64, "A" * 1000):
        answer = await browser.get("/login/oidc/callback", params={"state": state, "code": code})
        assert answer.status_code in {401, 422}
        assert not browser.is_in()
    assert "token" not in issuer.asked, "the code was sent on before the state was looked at"
    assert (await browser.get(address)).status_code == 303


async def test_another_browser_cannot_finish_a_login(browsers, rows, issuer, invited):
    """What an attacker would do to log a victim in as somebody else, or to use a stolen code."""
    mine, victim = browsers(), browsers()
    address = await mine.at_issuer(await mine.leave())
    answer = await victim.get(address)
    assert refused(rows, victim, answer, 401, "started in another browser")
    await victim.leave()
    assert refused(rows, victim, await victim.get(address), 401, "started in another browser")
    assert "token" not in issuer.asked


async def test_an_answer_is_good_once(browser, rows, issuer, invited):
    address = await browser.at_issuer(await browser.leave())
    cookie = browser.http.cookies[COOKIE]
    assert (await browser.get(address)).status_code == 303
    browser.http.cookies.clear()
    browser.http.cookies.set(COOKIE, cookie, domain="refault.test", path="/login/oidc")

    again = await browser.get(address)

    assert again.status_code == 401
    assert not browser.is_in()
    assert issuer.asked.count("token") == 1


async def test_a_code_of_another_login_is_not_taken(browser, rows, issuer, invited):
    """Injected into a login of one's own: the verifier is of another challenge."""
    stolen = dict(parse_qsl(urlsplit(await browser.at_issuer(await browser.leave())).query))["code"]
    own = dict(parse_qsl(urlsplit(await browser.at_issuer(await browser.leave())).query))
    answer = await browser.get("/login/oidc/callback", params=own | {"code": stolen})
    assert refused(rows, browser, answer, 401, "refused the code: invalid_grant")


async def test_a_login_that_took_too_long_is_over(browser, rows, invited):
    address = await browser.at_issuer(await browser.leave())
    with session.transaction(rows.engine) as opened:
        opened.execute(sa.update(LoginFlow).values(expires_at=sa.func.now()))
    assert refused(rows, browser, await browser.get(address), 401, "too long ago")
    await browser.leave()
    assert len(all_of(rows, LoginFlow)) == 1


async def test_keys_may_be_elliptic_and_change(browsers, issuer, invited):
    assert (await browsers().log_in()).status_code == 303
    issuer.keys = [elliptic_key()]
    issuer.sign_with, issuer.algorithm = issuer.keys[0], "ES256"
    assert (await browsers().log_in()).status_code == 303


async def test_an_address_may_come_from_the_userinfo_of_that_very_person(
    browsers, rows, issuer, invited
):
    issuer.person = {"sub": "person-1"}
    issuer.userinfo = {"sub": "x", "email": "anna@example.org", "email_verified": True}
    browser = browsers()
    assert refused(rows, browser, await browser.log_in(), 401, "another subject")
    issuer.userinfo["sub"] = "person-1"
    assert (await browsers().log_in()).status_code == 303


async def test_a_client_secret_may_go_into_the_body(browser, issuer, invited):
    issuer.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert (await browser.log_in()).status_code == 303


async def test_who_refuses_at_the_issuer_is_told_so_and_can_try_again(
    browser, rows, issuer, invited
):
    issuer.refuses = "access_denied"
    answer = await browser.log_in()
    assert refused(rows, browser, answer, 401, "refused the login: access_denied")
    assert "<script>" not in answer.text
    assert "token" not in issuer.asked
    issuer.refuses = None
    assert (await browser.log_in()).status_code == 303


@pytest.mark.parametrize(
    "target", ["//evil.test", "https://evil.test", "/\\evil.test", "javascript:alert(1)"]
)
async def test_a_login_by_the_issuer_leads_to_no_other_site(browser, invited, target):
    assert (await browser.log_in(next=target)).headers["location"] == "/"


async def test_not_even_a_target_that_was_put_in_by_the_api_leads_away(browser, invited):
    """The API keeps what it is given; the pages look at it again on the way back."""
    begun = (
        await browser.http.post("/api/v1/sessions/oidc", json={"target": "//evil.test"})
    ).json()
    browser.http.cookies.set(COOKIE, begun["secret"], domain="refault.test", path="/login/oidc")
    back = await browser.at_issuer(begun["location"])
    assert (await browser.get(back)).headers["location"] == "/"


async def test_the_form_offers_the_issuer_and_keeps_the_way(browser):
    page = Page(await browser.get("/login", params={"next": "/traces/1?a=b&c=//d"}))
    [link] = [tag["href"] for tag in page.all("a") if tag["href"].startswith("/login/oidc")]
    assert "Log in with Example & Co" in page.text
    assert dict(parse_qsl(urlsplit(link).query)) == {"next": "/traces/1?a=b&c=//d"}


async def test_without_an_issuer_nothing_is_offered_and_nothing_answers(site):
    browser = Browser(site)
    page = Page(await browser.get("/login"))
    assert [tag for tag in page.all("a") if "oidc" in tag["href"]] == []
    for path in ("/login/oidc", "/login/oidc/callback?state=x&code=y"):
        answer = await browser.get(path)
        assert answer.status_code == 404
        assert "Traceback" not in answer.text
    assert (await browser.get("/api/v1/sessions/oidc")).json() == {"name": None}
    await browser.http.aclose()


async def test_logins_begun_without_end_are_bounded(browser, rows, monkeypatch):
    monkeypatch.setattr(service, "_BEGUN_MAX", 2)
    answers = [(await browser.get("/login/oidc")).status_code for _ in range(5)]
    assert answers == [303, 303, 429, 429, 429]
    assert len(all_of(rows, LoginFlow)) == 2


async def test_a_password_account_can_be_both(browsers, rows, issuer):
    rows.add_user("anna", "viewer")
    with session.transaction(rows.engine) as opened:
        identities.invite(opened, accounts.get_user(opened, "anna"), "anna@example.org")
    assert (await browsers().log_in()).status_code == 303
    browser = browsers()
    answer = await browser.http.post("/login", data={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 303
    # Who has no password cannot log in with an empty one, or with any.
    with session.transaction(rows.engine) as opened:
        accounts.get_user(opened, "anna").password_hash = None
    for password in ("", "None", PASSWORD):
        answer = await browsers().http.post("/login", data={"name": "anna", "password": password})
        assert answer.status_code == 401
