"""An OpenID issuer that lies, is mistaken or silent, and what is believed of it."""

import base64
import json
import time
from typing import NamedTuple

import pytest

from services.api.oidc import issuer as asking
from services.dashboard.issuer_door import COOKIE
from tests.dashboard.test_pages import Page
from tests.fixtures.browsing import refused
from tests.fixtures.issuer import CLIENT_ID, elliptic_key, shared_secret, stranger_key

pytestmark = pytest.mark.anyio


class HoursAgo(NamedTuple):
    """A moment of a token; reckoned when the test runs, or its name would depend on the clock."""

    hours: int

    def seconds(self):
        return int(time.time()) - 3600 * self.hours


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"nonce": "another"}, "invalid_claim"),
        ({"nonce": None}, "missing_claim"),
        ({"exp": HoursAgo(1)}, "expired_token"),
        ({"exp": None}, "missing_claim"),
        ({"iat": HoursAgo(-1), "exp": HoursAgo(-2)}, "invalid_claim"),
        ({"iss": "https://evil.example"}, "invalid_claim"),
        ({"iss": None}, "missing_claim"),
        ({"aud": "somebody else"}, "invalid_claim"),
        ({"aud": ["somebody else"]}, "invalid_claim"),
        ({"aud": None}, "missing_claim"),
        ({"aud": [CLIENT_ID, "else"], "azp": "else"}, "invalid_claim"),
        ({"at_hash": "AAAA"}, "invalid_claim"),
        ({"sub": None}, "missing_claim"),
        ({"sub": ""}, "answer is invalid"),
        ({"sub": 7}, "answer is invalid"),
        ({"sub": "a" * 300}, "answer is invalid"),
        ({"sub": "nul\0"}, "answer is invalid"),
    ],
    ids=str,
)
async def test_a_token_that_is_not_for_this_login_lets_nobody_in(
    browser, rows, issuer, invited, claims, reason
):
    issuer.claims = {
        name: value.seconds() if isinstance(value, HoursAgo) else value
        for name, value in claims.items()
    }
    answer = await browser.log_in()
    assert refused(rows, browser, answer, 401, "answer is invalid")
    assert reason in Page(answer).text


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", stranger_key),
        ("none", lambda: None),
        ("HS256", shared_secret),
        ("ES256", elliptic_key),
    ],
)
async def test_a_forged_token_lets_nobody_in(browser, rows, issuer, invited, algorithm, key):
    issuer.algorithm, issuer.sign_with = algorithm, key()
    answer = await browser.log_in()
    assert refused(rows, browser, answer, 401, "answer is invalid")


async def test_claims_changed_after_signing_let_nobody_in(browser, rows, issuer, invited):
    true = issuer.id_token

    def forged(begun):
        issuer.person["sub"] = "mallory"
        header, body, signature = true(begun).split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=="))
        claims["sub"] = "person-1"
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        return f"{header}.{body}.{signature}"

    issuer.id_token = forged
    answer = await browser.log_in()
    assert refused(rows, browser, answer, 401, "bad_signature")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "....", None, 7, {"a": 1}])
async def test_what_is_no_token_lets_nobody_in(browser, rows, issuer, invited, token):
    issuer.id_token = lambda _: token
    answer = await browser.log_in()
    assert refused(rows, browser, answer, 401, "answer is invalid")


async def test_an_issuer_that_is_down_is_named_and_passwords_still_work(
    browser, rows, issuer, invited
):
    address = await browser.leave()
    back = await browser.at_issuer(address)
    issuer.stop()

    away = await browser.get("/login/oidc")
    assert away.status_code == 503
    assert f"the issuer {issuer.url} cannot be reached" in Page(away).text
    assert "name" in {tag["name"] for tag in Page(away).all("input")}
    assert refused(rows, browser, await browser.get(back), 503, "cannot be reached")


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (".well-known/openid-configuration", (500, {}, b"oops")),
        (".well-known/openid-configuration", (200, {}, b"<html>")),
        (".well-known/openid-configuration", (200, {}, b"[1]")),
        (".well-known/openid-configuration", (302, {"location": "http://127.0.0.1/"}, b"")),
        ("keys", (404, {}, b"{}")),
        ("keys", (200, {}, b'{"keys": []}' + b" " * asking.ANSWER_BYTES_MAX)),
        ("keys", (200, {"content-encoding": "gzip"}, b"\x1f\x8b")),
        ("token", (502, {}, b"bad gateway")),
        ("token", (200, {}, b"no json")),
        ("token", (302, {"location": "http://127.0.0.1/"}, b"")),
    ],
    ids=str,
)
async def test_an_issuer_that_answers_nonsense_lets_nobody_in(
    browser, rows, issuer, invited, path, answer
):
    back = await browser.at_issuer(await browser.leave())
    issuer.answers[path] = answer
    assert refused(rows, browser, await browser.get(back), 503, "cannot be reached")


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"userinfo_endpoint": ["x"]},
    ],
    ids=str,
)
async def test_a_configuration_that_leads_astray_is_not_followed(browser, issuer, metadata):
    issuer.metadata = metadata
    answer = await browser.get("/login/oidc")
    assert answer.status_code == 503
    assert "cannot be reached" in Page(answer).text
    assert COOKIE not in browser.http.cookies


async def test_an_issuer_that_sends_a_byte_now_and_then_holds_nobody_up(
    browser, rows, issuer, invited, monkeypatch
):
    back = await browser.at_issuer(await browser.leave())
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.3)
    issuer.drips = {"keys"}
    assert refused(rows, browser, await browser.get(back), 503, "no complete answer within 0.3 s")
