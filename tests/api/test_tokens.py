import datetime
import hashlib
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa

from db import session
from db.models import FIRST_PROJECT, Token
from db.repositories import accounts, credentials
from refault.client.connection import FORM_KEY_HEADER, SESSION_COOKIE
from services.api import admin
from tests.fixtures.api import PASSWORD, bearer, in_process

pytestmark = pytest.mark.anyio

TOKENS = "/api/v1/tokens"


@asynccontextmanager
async def logged_in(site, name, password=PASSWORD):
    """A browser somebody has logged in with, as far as the API sees it."""
    async with in_process(site) as person:
        body = {"name": name, "password": password}
        opened = (await person.post("/api/v1/sessions", json=body)).json()
        person.cookies.set(SESSION_COOKIE, opened["secret"])
        me = (await person.get("/api/v1/me")).json()
        person.headers[FORM_KEY_HEADER] = me["form_key"]
        yield person


async def test_a_minted_token_works_and_only_its_digest_is_kept(site, rows, stranger):
    rows.add_user("anna", "maintainer")
    async with logged_in(site, "anna") as anna:
        minted = (await anna.post(TOKENS, json={"name": "ci", "scopes": ["read"]})).json()
        listed = (await anna.get(TOKENS)).json()["items"]
    secret = minted["secret"]
    assert secret.startswith("rft_")
    assert len(secret) == 4 + 43
    assert "secret" not in listed[0]

    answer = await stranger.get("/api/v1/me", headers=bearer(secret))

    assert answer.json()["scopes"] == ["read"]
    assert answer.json()["project"] == "main"
    with rows.engine.connect() as connection:
        kept = connection.execute(sa.text("SELECT to_jsonb(tokens)::text FROM tokens")).scalars()
        for row in kept:
            assert secret not in row
        digests = set(connection.execute(sa.select(Token.secret_digest)).scalars())
    assert hashlib.sha256(secret.encode()).hexdigest() in digests


async def test_an_administrator_invites_by_an_address_that_one_account_has(site, rows):
    rows.add_user("root", is_admin=True)
    users = "/api/v1/users"
    async with logged_in(site, "root") as root:
        made = await root.post(users, json={"name": "anna", "email": "Anna@Example.org"})
        assert (made.status_code, made.json()["email"]) == (201, "anna@example.org")
        assert made.json()["password"] is None
        twice = await root.post(users, json={"name": "bert", "email": "anna@example.org"})
        wrong = [
            (await root.post(users, json={"name": "cleo", "email": email})).status_code
            for email in ("anna", "a@b@c", "a b@c", "@c", "a@")
        ]
        listed = {user["name"]: user["email"] for user in (await root.get(users)).json()["items"]}
        gone = await root.patch(f"{users}/anna", json={"email": ""})
    assert twice.status_code == 409
    assert wrong == [422] * 5
    assert listed == {"anna": "anna@example.org", "root": None}
    assert gone.json()["email"] is None
    async with in_process(site) as nobody:
        for password in ("", "None", PASSWORD):
            body = {"name": "anna", "password": password}
            assert (await nobody.post("/api/v1/sessions", json=body)).status_code == 401


async def test_an_invitation_on_the_command_line_ends_logins_and_needs_no_password(
    site, rows, api_settings, capsys
):
    rows.add_user("anna", "viewer")
    url = ["--database-url", api_settings.database_url]
    async with logged_in(site, "anna") as anna:
        assert admin.main([*url, "invite", "anna", "Anna@example.org"]) == 0
        assert (await anna.get("/api/v1/me")).status_code == 401
    assert admin.main([*url, "create-user", "bert", "--email", "bert@example.org"]) == 0
    assert admin.main([*url, "create-user", "cleo", "--email", "bert@example.org"]) == 1
    told = capsys.readouterr()
    assert told.out == "anna@example.org may log in as anna\nuser bert\n"
    assert "bert@example.org is already set on the account bert" in told.err
    with session.transaction(rows.engine) as opened:
        assert accounts.get_user(opened, "bert").password_hash is None


async def test_a_token_mints_no_token_whatever_its_scopes(http):
    answer = await http.post(TOKENS, json={"name": "child", "scopes": ["read"]})

    assert answer.status_code == 403
    assert "cannot create a token" in answer.json()["detail"]


async def test_nobody_gives_away_more_than_they_have(site, rows):
    rows.add_user("vera", "viewer")
    async with logged_in(site, "vera") as vera:
        refused = await vera.post(TOKENS, json={"name": "more", "scopes": ["read", "submit"]})
        given = await vera.post(TOKENS, json={"name": "own", "scopes": ["read"]})
    assert refused.status_code == 403
    assert "submit" in refused.json()["detail"]
    assert given.status_code == 201


async def test_a_token_loses_what_its_owner_loses(site, rows, stranger):
    rows.add_user("carl", "contributor")
    async with logged_in(site, "carl") as carl:
        body = {"name": "push", "scopes": ["read", "upload"]}
        secret = (await carl.post(TOKENS, json=body)).json()["secret"]
    stranger.headers.update(bearer(secret))

    async def scopes():
        answer = await stranger.get("/api/v1/me")
        return answer.json()["scopes"] if answer.is_success else answer.status_code

    assert await scopes() == ["read", "upload"]
    with session.transaction(rows.engine) as opened:
        accounts.set_role(opened, FIRST_PROJECT, accounts.get_user(opened, "carl"), "viewer")
    assert await scopes() == ["read"]
    with session.transaction(rows.engine) as opened:
        accounts.set_enabled(opened, accounts.get_user(opened, "carl"), enabled=False)
    assert await scopes() == 401
    with session.transaction(rows.engine) as opened:
        user = accounts.get_user(opened, "carl")
        accounts.set_enabled(opened, user, enabled=True)
        accounts.remove_member(opened, FIRST_PROJECT, user)
    assert await scopes() == 401


async def test_a_revoked_token_is_worth_nothing_at_once(site, rows, stranger):
    rows.add_user("anna", "maintainer")
    async with logged_in(site, "anna") as anna:
        minted = (await anna.post(TOKENS, json={"name": "ci", "scopes": ["read"]})).json()
        stranger.headers.update(bearer(minted["secret"]))
        assert (await stranger.get("/api/v1/traces")).status_code == 200
        assert (await anna.delete(f"{TOKENS}/{minted['id']}")).status_code == 204
    assert (await stranger.get("/api/v1/traces")).status_code == 401


async def test_an_expired_token_is_worth_nothing(rows, stranger):
    secret = rows.mint_token(lifetime=datetime.timedelta(seconds=-1))

    answer = await stranger.get("/api/v1/traces", headers=bearer(secret))

    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


async def test_the_last_use_of_a_token_is_remembered(http, rows):
    await http.get("/api/v1/traces")

    [entry] = (await http.get(TOKENS)).json()["items"]

    assert entry["last_used_at"] is not None


@pytest.mark.parametrize("host", ["x/healthz?", "x/healthz#", "x/api/v1/problems/a?", "@x", "é"])
async def test_the_host_a_caller_names_opens_no_door(site, stranger, host):
    answer = await stranger.get("/api/v1/traces", headers={"host": host.encode()})
    page = await stranger.get("/", headers={"host": host.encode()})
    async with in_process(site.api) as direct:
        behind = await direct.get("/api/v1/traces", headers={"host": host.encode()})

    assert (answer.status_code, page.status_code, behind.status_code) == (400, 400, 401)


async def test_two_authorizations_are_none(stranger, token):
    headers = [("authorization", f"Bearer {token}")] * 2

    assert (await stranger.get("/api/v1/traces", headers=headers)).status_code == 401


async def test_a_login_shown_as_a_token_and_a_token_shown_as_a_login_open_nothing(
    site, rows, stranger, token
):
    rows.add_user("anna", "maintainer")
    body = {"name": "anna", "password": PASSWORD}
    secret = (await stranger.post("/api/v1/sessions", json=body)).json()["secret"]

    as_token = await stranger.get("/api/v1/traces", headers=bearer(secret))
    as_login = await stranger.get("/api/v1/traces", headers={"cookie": f"{SESSION_COOKIE}={token}"})

    assert (as_token.status_code, as_login.status_code) == (401, 401)


async def test_everything_that_changes_something_is_in_the_audit(site, rows, http):
    rows.add_user("anna", "maintainer")
    async with logged_in(site, "anna") as anna:
        minted = (await anna.post(TOKENS, json={"name": "ci", "scopes": ["read"]})).json()
        await anna.delete(f"{TOKENS}/{minted['id']}")
        entries = (await anna.get("/api/v1/audit")).json()["items"]
    assert [(entry["actor"], entry["action"]) for entry in entries] == [
        ("user anna", "DELETE /tokens/{token}"),
        ("user anna", "POST /tokens"),
    ]
    assert entries[0]["subject"].endswith(minted["id"])
    assert minted["secret"] not in str(entries)


@pytest.mark.parametrize(
    "statement", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"]
)
async def test_the_audit_cannot_be_rewritten(site, rows, statement):
    rows.add_user("anna", "maintainer")
    async with logged_in(site, "anna"):
        pass
    with (
        rows.engine.connect() as connection,
        pytest.raises(sa.exc.DBAPIError, match="only ever added to"),
    ):
        connection.execute(sa.text(statement))


async def test_members_are_made_changed_and_removed_by_maintainers(site, rows):
    rows.add_user("anna", "maintainer")
    rows.add_user("bert")
    async with logged_in(site, "anna") as anna:
        for role in ("viewer", "contributor"):
            answer = await anna.put("/api/v1/members/bert", json={"role": role})
            assert answer.status_code == 204
        members = (await anna.get("/api/v1/members")).json()["items"]
        assert {entry["user"]: entry["role"] for entry in members} == {
            "anna": "maintainer",
            "bert": "contributor",
        }
        async with logged_in(site, "bert") as bert:
            refused = await bert.put("/api/v1/members/bert", json={"role": "maintainer"})
            assert refused.status_code == 403
            assert (await bert.get("/api/v1/traces")).status_code == 200
            assert (await anna.delete("/api/v1/members/bert")).status_code == 204
            assert (await bert.get("/api/v1/traces")).status_code == 403


async def test_only_an_administrator_makes_projects_and_users(site, rows, http):
    rows.add_user("anna", "maintainer")
    rows.add_user("root", is_admin=True)
    for body, place in (
        ({"name": "kvm"}, "/api/v1/projects"),
        ({"name": "bert"}, "/api/v1/users"),
    ):
        assert (await http.post(place, json=body)).status_code == 403
        async with logged_in(site, "anna") as anna:
            assert (await anna.post(place, json=body)).status_code == 403
        async with logged_in(site, "root") as root:
            made = await root.post(place, json=body)
            assert made.status_code == 201
            assert (await root.post(place, json=body)).status_code == 409
    async with logged_in(site, "bert", made.json()["password"]) as bert:
        assert (await bert.get("/api/v1/projects")).json()["items"] == []
        assert (await bert.get("/api/v1/traces")).status_code == 403


async def test_a_project_of_several_is_chosen(site, rows, http):
    second = rows.add_project("second")
    rows.add_user("anna", "viewer")
    with session.transaction(rows.engine) as opened:
        accounts.set_role(opened, second, accounts.get_user(opened, "anna"), "maintainer")
    rows.add_trace("in-the-first")
    async with logged_in(site, "anna") as anna:
        assert len((await anna.get("/api/v1/traces")).json()["items"]) == 1
        chosen = (await anna.put("/api/v1/sessions/current", json={"project": "second"})).json()
        assert (chosen["project"], chosen["role"]) == ("second", "maintainer")
        assert (await anna.get("/api/v1/traces")).json()["items"] == []
        assert (await anna.get("/api/v1/audit")).status_code == 200
        other = await anna.put("/api/v1/sessions/current", json={"project": "third"})
        assert other.status_code == 404


async def test_the_command_line_makes_the_first_of_everything(site, rows, capsys):
    def run(*arguments):
        url = rows.engine.url.render_as_string(hide_password=False)
        code = admin.main(["--database-url", url, *arguments])
        return code, capsys.readouterr().out

    code, shown = run("create-user", "root", "--admin")
    assert code == 0
    password = shown.removeprefix("password: ").strip()
    assert len(password) >= 20
    assert run("create-project", "kvm", "--traces", "5")[0] == 0
    assert run("set-member", "kvm", "root", "maintainer")[0] == 0
    _, secret = run("create-token", "kvm", "ci", "--scope", "read")
    assert run("create-user", "root")[0] == 1

    async with logged_in(site, "root", password) as root:
        listed = (await root.get("/api/v1/projects")).json()["items"]
        assert {entry["name"]: entry["quota_traces"] for entry in listed} == {
            "kvm": 5,
            "main": None,
        }
    async with in_process(site, secret.strip()) as program:
        me = (await program.get("/api/v1/me")).json()
        assert (me["project"], me["scopes"]) == ("kvm", ["read"])
        assert run("revoke-token", "kvm", me["id"])[0] == 0
        assert (await program.get("/api/v1/me")).status_code == 401


async def test_a_token_of_another_project_cannot_be_revoked(site, rows):
    other = rows.mint_token(project=rows.add_project("second"))
    rows.add_user("anna", "maintainer")
    async with in_process(site, other) as program:
        row_id = (await program.get("/api/v1/me")).json()["id"]
        async with logged_in(site, "anna") as anna:
            assert (await anna.delete(f"{TOKENS}/{row_id}")).status_code == 404
        assert (await program.get("/api/v1/me")).status_code == 200


def test_a_secret_is_not_guessed_from_its_digest(engine):
    with session.transaction(engine, FIRST_PROJECT) as opened:
        row, _ = credentials.mint_token(opened, "t", scopes=["read"])
        assert credentials.find(opened, row.secret_digest) is None
        assert credentials.find(opened, f"rft_{row.secret_digest}") is None
