"""Share links and tokens end: by their time, with their maker, and there are only so many."""

import datetime

import pytest
import sqlalchemy as sa

from db import session as sessions
from db.models import FIRST_PROJECT, ShareLink, Token, User
from db.repositories import accounts, credentials
from tests.api.test_access_table import batch_of
from tests.api.test_growth import queries
from tests.api.test_tokens import logged_in
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio


@pytest.fixture
async def code(http, rows):
    return await batch_of(http, rows)


@pytest.fixture
def carl(rows):
    """A contributor, and a token of theirs by which a program may share."""
    rows.add_user("carl", "contributor")
    with sessions.transaction(rows.engine, FIRST_PROJECT) as opened:
        user = accounts.get_user(opened, "carl")
        given = {"user_id": user.id, "lifetime": datetime.timedelta(days=30)}
        return credentials.mint_token(opened, "ci", scopes=["read", "submit"], **given)[1]


async def shared(caller, code, **body):
    answer = await caller.post(f"/api/v1/batches/{code}/shares", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def opens(site, link):
    """Whether the link opens its batch, over the API and as a page; both agree."""
    secret = link["path"].removeprefix("/s/")
    async with in_process(site, secret) as reader:
        answer = await reader.get(f"/api/v1/batches/{link['batch']}")
    async with in_process(site) as stranger:
        page = await stranger.get(link["path"])
    assert (answer.status_code, page.status_code) in {(200, 200), (401, 404)}
    return answer.is_success


def days_left(link):
    left = datetime.datetime.fromisoformat(link["expires_at"]) - datetime.datetime.now(datetime.UTC)
    return round(left.total_seconds() / 86400)


@pytest.mark.parametrize("days", [None, 0, -1, 366, 3660, 10**9, "90", 1.5])
async def test_there_is_no_link_and_no_token_without_an_end(http, site, rows, code, days):
    answer = await http.post(f"/api/v1/batches/{code}/shares", json={"lifetime_days": days})
    rows.add_user("vera", "viewer")
    async with logged_in(site, "vera") as vera:
        body = {"name": "x", "scopes": ["read"], "lifetime_days": days}
        token = await vera.post("/api/v1/tokens", json=body)
        listed = (await vera.get("/api/v1/tokens")).json()["items"]
    if days == "90":
        assert {answer.status_code, token.status_code} <= {201, 422}
        return
    assert (answer.status_code, token.status_code) == (422, 422)
    assert listed == []


async def test_a_link_lasts_three_months_unless_said_otherwise(http, code):
    assert days_left(await shared(http, code)) == 90
    assert days_left(await shared(http, code, lifetime_days=365)) == 365


async def test_a_link_does_not_outlive_the_token_it_was_made_with(site, carl, code):
    async with in_process(site, carl) as program:
        link = await shared(program, code, lifetime_days=365)
    assert days_left(link) == 30
    assert await opens(site, link)


def revoke_token(opened):
    token = opened.scalars(sa.select(Token).where(Token.name == "ci")).one()
    credentials.revoke(opened, token)


def let_token_expire(opened):
    past = sa.func.now() - sa.text("interval '1 second'")
    opened.execute(sa.update(Token).where(Token.name == "ci").values(expires_at=past))


def narrow_token(opened):
    opened.execute(sa.update(Token).where(Token.name == "ci").values(scopes=["submit"]))


def make_a_viewer(opened):
    accounts.set_role(opened, FIRST_PROJECT, accounts.get_user(opened, "carl"), "viewer")


def end_membership(opened):
    accounts.remove_member(opened, FIRST_PROJECT, accounts.get_user(opened, "carl"))


def shut_out(opened):
    accounts.set_enabled(opened, accounts.get_user(opened, "carl"), enabled=False)


def delete_token(opened):
    opened.execute(sa.delete(Token).where(Token.name == "ci"))


def delete_user(opened):
    opened.execute(sa.delete(User).where(User.name == "carl"))


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        *(("token", end) for end in (revoke_token, let_token_expire, narrow_token, delete_token)),
        *(
            (kind, end)
            for kind in ("token", "login")
            for end in (make_a_viewer, end_membership, shut_out, delete_user)
        ),
    ],
)
async def test_a_link_ends_with_its_makers_right_to_share(site, rows, http, carl, code, kind, end):
    if kind == "token":
        async with in_process(site, carl) as program:
            link = await shared(program, code)
    else:
        async with logged_in(site, "carl") as person:
            link = await shared(person, code)
    other = await shared(http, code)
    assert await opens(site, link)

    with sessions.transaction(rows.engine, FIRST_PROJECT) as opened:
        end(opened)

    assert not await opens(site, link)
    assert await opens(site, other)
    listed = (await http.get(f"/api/v1/batches/{code}/shares")).json()["items"]
    assert {entry["id"] for entry in listed if entry["is_open"]} == {other["id"]}


async def test_a_login_that_is_over_ends_no_link(site, carl, code):
    del carl
    async with logged_in(site, "carl") as person:
        link = await shared(person, code)
        assert (await person.delete("/api/v1/sessions/current")).status_code == 204
    assert await opens(site, link)


async def test_a_token_that_may_not_read_shares_nothing(site, rows, code):
    async with in_process(site, rows.mint_token(["submit"])) as program:
        answer = await program.post(f"/api/v1/batches/{code}/shares", json={})
    assert answer.status_code == 403
    with sessions.transaction(rows.engine) as opened:
        assert opened.scalars(sa.select(ShareLink)).all() == []


async def test_a_link_of_the_previous_release_has_an_end_too(site, rows, http, code):
    """It may still make some while the present one starts: without an end and without a maker."""
    link = await shared(http, code)
    nobodys = {"user_id": None, "token_id": None, "expires_at": None}
    with sessions.transaction(rows.engine) as opened:
        opened.execute(sa.update(ShareLink).values(**nobodys))
    assert await opens(site, link)
    with sessions.transaction(rows.engine) as opened:
        past = sa.func.now() - sa.text("interval '91 days'")
        opened.execute(sa.update(ShareLink).values(created_at=past))
    assert not await opens(site, link)


async def test_one_caller_has_so_many_links_and_no_more(site, carl, code, monkeypatch):
    monkeypatch.setattr(credentials, "LINKS_MAX", 2)
    async with in_process(site, carl) as program:
        links = [await shared(program, code) for _ in range(2)]
        refused = await program.post(f"/api/v1/batches/{code}/shares", json={})
        assert (await program.delete(f"/api/v1/shares/{links[0]['id']}")).status_code == 204
        await shared(program, code)
    assert refused.status_code == 409
    assert "revoke one" in refused.json()["detail"]


async def test_one_person_has_so_many_tokens_of_a_project_and_no_more(site, rows, monkeypatch):
    monkeypatch.setattr(credentials, "TOKENS_MAX", 2)
    rows.add_user("vera", "viewer")
    rows.add_user("bert", "viewer")
    body = {"name": "x", "scopes": ["read"]}
    async with logged_in(site, "vera") as vera, logged_in(site, "bert") as bert:
        made = [(await vera.post("/api/v1/tokens", json=body)).json() for _ in range(2)]
        refused = await vera.post("/api/v1/tokens", json=body)
        assert (await bert.post("/api/v1/tokens", json=body)).status_code == 201
        assert (await vera.delete(f"/api/v1/tokens/{made[0]['id']}")).status_code == 204
        again = await vera.post("/api/v1/tokens", json=body)
    assert (refused.status_code, again.status_code) == (409, 201)
    assert "revoke one" in refused.json()["detail"]


async def test_tokens_that_ended_are_listed_only_as_far_as_they_are_the_newest(
    site, http, monkeypatch, rows
):
    monkeypatch.setattr(credentials, "ENDED_LISTED_MAX", 2)
    rows.add_user("vera", "viewer")
    rows.add_user("bert", "viewer")
    async with logged_in(site, "vera") as vera, logged_in(site, "bert") as bert:
        mine = await minted(bert, "bert's")
        kept = await minted(vera, "kept")
        ended = [await minted(vera, f"ended {number}") for number in range(4)]
        for token in ended:
            assert (await vera.delete(f"/api/v1/tokens/{token}")).status_code == 204
        seen_by_vera = await listed(vera)
        seen_by_bert = await listed(bert)
    assert seen_by_vera == [ended[3], ended[2], kept]
    assert seen_by_bert == [mine]
    seen_by_all = await listed(http)
    assert {*seen_by_vera, mine} <= set(seen_by_all)
    assert not set(ended[:2]) & set(seen_by_all)


async def minted(caller, name):
    body = {"name": name, "scopes": ["read"]}
    return (await caller.post("/api/v1/tokens", json=body)).json()["id"]


async def listed(caller):
    return [token["id"] for token in (await caller.get("/api/v1/tokens")).json()["items"]]


async def test_links_are_listed_with_as_many_queries_however_many_there_are(
    site, carl, http, code, monkeypatch
):
    monkeypatch.setattr(credentials, "ENDED_LISTED_MAX", 2)
    counts = []
    async with in_process(site, carl) as program:
        made = [(await shared(program, code))["id"]]
        for _ in range(2):
            with queries(site) as seen:
                found = (await http.get(f"/api/v1/batches/{code}/shares")).json()["items"]
            counts.append(len(seen))
            made += [(await shared(program, code))["id"] for _ in range(9)]
        for share in made[:5]:
            assert (await program.delete(f"/api/v1/shares/{share}")).status_code == 204
    assert [len(found), counts[1] <= counts[0]] == [10, True]
    listed_now = (await http.get(f"/api/v1/batches/{code}/shares")).json()["items"]
    assert [link["id"] for link in listed_now] == [*reversed(made[5:]), made[4], made[3]]
    assert [link["is_open"] for link in listed_now] == [True] * 14 + [False] * 2
