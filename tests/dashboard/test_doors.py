"""Logging in and out with a browser, as far as pages and cookies go."""

import pytest

from refault.client.connection import SESSION_COOKIE
from services.dashboard.doors import way_on
from services.dashboard.masks import masked, unmasked
from tests.dashboard.test_pages import Page, submit
from tests.fixtures.api import PASSWORD, in_process

pytestmark = pytest.mark.anyio

FORM = {"name": "anna", "password": PASSWORD}


@pytest.fixture
async def browser(site, rows):
    rows.add_user("anna", "maintainer")
    async with in_process(site) as client:
        client.headers["origin"] = "http://refault.test"
        yield client


async def log_in(browser, **given):
    return await browser.post("/login", data=FORM | given)


def form_key(page):
    keys = {tag["value"] for tag in Page(page).all("input") if tag.get("name") == "form_key"}
    [key] = keys
    return key


@pytest.mark.parametrize("path", ["/", "/batches/b-1234", "/traces/12345678"])
async def test_a_stranger_is_led_to_the_form_and_back(browser, path):
    answer = await browser.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=")
    form = await browser.get(answer.headers["location"])
    [target] = [tag["value"] for tag in Page(form).all("input") if tag["name"] == "next"]
    assert target == path
    assert (await log_in(browser, next=target)).headers["location"] == path


async def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(browser):
    answer = await log_in(browser)

    cookie = answer.headers["set-cookie"].lower()
    assert answer.status_code == 303
    assert cookie.startswith(f"{SESSION_COOKIE}=rfl_")
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie
    assert "secure" not in cookie
    assert "domain" not in cookie


async def test_over_https_the_cookie_stays_there(browser):
    answer = await browser.post("/login", data=FORM, headers={"x-forwarded-proto": "https"})

    assert "secure" in answer.headers["set-cookie"].lower()


async def test_who_is_logged_in_sees_pages_and_is_named_there(browser):
    await log_in(browser)

    page = await browser.get("/")

    assert page.status_code == 200
    assert "anna" in Page(page).text
    assert "Log out" in Page(page).text


async def test_a_login_is_a_new_secret_each_time_and_none_that_was_brought_along(browser):
    browser.cookies.set(SESSION_COOKIE, "rfl_" + "A" * 43, domain="refault.test")
    first = (await log_in(browser)).cookies[SESSION_COOKIE]
    second = (await log_in(browser)).cookies[SESSION_COOKIE]

    assert len({first, second, "rfl_" + "A" * 43}) == 3


async def test_logging_out_ends_the_login_in_the_service_too(browser, site):
    await log_in(browser)
    secret = browser.cookies[SESSION_COOKIE]
    key = form_key(await browser.get("/"))

    answer = await browser.post("/logout", data={"form_key": key})

    assert answer.status_code == 303
    assert SESSION_COOKIE not in browser.cookies
    async with in_process(site) as thief:
        cookie = {"cookie": f"{SESSION_COOKIE}={secret}"}
        assert (await thief.get("/api/v1/me", headers=cookie)).status_code == 401
        assert (await thief.get("/", headers=cookie)).status_code == 303


@pytest.mark.parametrize(
    ("name", "password"),
    [("anna", "wrong password"), ("nobody", PASSWORD), ("", ""), ("anna\0", PASSWORD)],
)
async def test_a_wrong_login_says_so_and_not_what_was_wrong(browser, name, password):
    answer = await log_in(browser, name=name, password=password)

    assert answer.status_code in {401, 422}
    assert "set-cookie" not in answer.headers
    assert password not in answer.text or not password
    if "\0" not in name:
        assert "wrong name or password" in Page(answer).text


async def test_guessing_is_stopped_for_the_account(browser, api_settings):
    for _ in range(api_settings.login_tries):
        assert (await log_in(browser, password="a wrong guess")).status_code == 401

    answer = await log_in(browser)

    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "set-cookie" not in answer.headers


async def test_guessing_is_stopped_for_the_address(browser, api_settings):
    for number in range(api_settings.login_tries):
        assert (await log_in(browser, name=f"user{number}")).status_code == 401

    assert (await log_in(browser)).status_code == 429


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://refault.test.evil.test"])
async def test_another_site_cannot_log_a_browser_in(browser, origin):
    answer = await browser.post("/login", data=FORM, headers={"origin": origin})

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/logout", "/project"])
async def test_a_form_without_its_key_or_from_elsewhere_does_nothing(browser, path):
    await log_in(browser)
    key = form_key(await browser.get("/"))

    for data, origin in (
        ({}, "http://refault.test"),
        ({"form_key": "0" * 64}, "http://refault.test"),
        ({"form_key": key}, "https://evil.test"),
        ({"form_key": key}, "null"),
    ):
        answer = await browser.post(
            path, data=data | {"project": "main"}, headers={"origin": origin}
        )
        assert answer.status_code == 403
    assert (await browser.get("/")).status_code == 200


async def test_the_api_takes_no_write_from_a_cookie_alone(browser, rows):
    await log_in(browser)
    body = {"name": "x", "patches": []}

    refused = await browser.post("/api/v1/patch_sets", json=body)
    key = unmasked(form_key(await browser.get("/")))
    taken = await browser.post("/api/v1/patch_sets", json=body, headers={"x-csrf-token": key})

    assert (refused.status_code, taken.status_code) == (403, 201)


@pytest.mark.parametrize(
    "target",
    ["//evil.test", "https://evil.test", "/\\evil.test", "javascript:alert(1)", "", "é"],
)
async def test_a_login_leads_to_no_other_site(browser, target):
    assert way_on(target) == "/"
    assert (await log_in(browser, next=target)).headers["location"] == "/"


async def test_a_login_leads_to_no_address_with_a_line_break_in_it(browser):
    assert way_on("/a\r\nb") == "/"
    assert (await log_in(browser, next="/a\r\nb")).status_code == 422


async def test_a_form_too_large_or_of_another_kind_is_refused(browser):
    large = await browser.post("/login", data=FORM | {"next": "/" + "a" * 20_000})
    other = await browser.post("/login", json=FORM)

    assert (large.status_code, other.status_code) == (413, 415)


async def test_with_several_projects_one_is_chosen_on_the_page(browser, rows):
    rows.add_project("second")
    rows.add_user("root", is_admin=True)
    rows.add_trace("in-the-first")
    await log_in(browser, name="root")
    page = await browser.get("/")
    assert "in-the-first" in page.text

    answer = await browser.post("/project", data={"form_key": form_key(page), "project": "second"})

    assert answer.status_code == 303
    assert "in-the-first" not in (await browser.get("/")).text


@pytest.fixture
async def link(http, rows):
    code = await submit(http, rows.ready_for_seed_series())
    return (await http.post(f"/api/v1/batches/{code}/shares", json={})).json()


async def test_a_share_link_opens_one_batch_and_its_forms(http, stranger, rows, link):
    page = await stranger.get(link["path"])
    assert page.status_code == 200
    assert "what the guest sees" in Page(page).text
    assert "form-action 'self'" in page.headers["content-security-policy"]
    for form in ("txt", "md", "csv", "json", "svg"):
        shared = await stranger.get(f"{link['path']}.{form}")
        own = await http.get(f"/api/v1/comparisons/{link['batch']}.{form}")
        assert shared.text == own.text
        assert shared.headers["content-type"] == own.headers["content-type"]
    for tag in Page(page).all("a") + Page(page).all("img"):
        target = tag.get("href") or tag.get("src")
        if target.startswith(("/s/", "?", "#")):
            assert (
                await stranger.get(f"{link['path']}{target}" if target[0] in "?#" else target)
            ).status_code == 200, target


async def test_a_share_link_opens_nothing_else(site, http, rows, link):
    other = await submit(http, [rows.add_trace("another")])
    secret = link["path"].removeprefix("/s/")
    async with in_process(site, secret) as reader:
        assert (await reader.get(f"/api/v1/batches/{link['batch']}")).status_code == 200
        for path in (
            "/api/v1/batches",
            f"/api/v1/batches/{other}",
            f"/api/v1/comparisons/{other}",
            f"/api/v1/comparisons/{other}.json",
            f"/api/v1/batches/{link['batch']}/shares",
            f"/api/v1/batches/{link['batch']}/events",
            "/api/v1/traces",
            "/api/v1/patches",
            "/api/v1/tokens",
            "/api/v1/projects",
            "/api/v1/audit",
        ):
            assert (await reader.get(path)).status_code == 404, path
        cancelled = await reader.post(f"/api/v1/batches/{link['batch']}/cancel")
        assert cancelled.status_code == 403
        assert (await reader.delete(f"/api/v1/shares/{link['id']}")).status_code == 403


async def test_a_revoked_share_link_opens_nothing(http, stranger, link):
    assert (await http.delete(f"/api/v1/shares/{link['id']}")).status_code == 204

    assert (await stranger.get(link["path"])).status_code == 404
    assert (await stranger.get(f"{link['path']}.txt")).status_code == 404
    [listed] = (await http.get(f"/api/v1/batches/{link['batch']}/shares")).json()["items"]
    assert listed["revoked_at"] is not None
    assert "path" not in listed


@pytest.mark.parametrize("secret", ["rfs_" + "A" * 43, "rfs_", "x", "rft_x", "..%2f..%2fadmin"])
async def test_a_made_up_share_link_is_not_found(stranger, secret):
    assert (await stranger.get(f"/s/{secret}")).status_code == 404
    assert (await stranger.get(f"/s/{secret}.txt")).status_code == 404


async def test_a_token_is_no_share_link(stranger, token):
    assert (await stranger.get(f"/s/{token}")).status_code == 404


@pytest.mark.parametrize(
    "key", ["schl\u00fcssel", "~", "~w6Q=", "~!", masked("\u00e9" * 64), "~AAAB"]
)
async def test_a_form_key_of_letters_that_no_key_has_is_refused(browser, key):
    await log_in(browser)

    answer = await browser.post("/logout", data={"form_key": key})

    assert answer.status_code == 403, answer.text
    assert unmasked(key).isascii()
