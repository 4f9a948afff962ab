"""A batch that is watched by somebody who may not any more."""

import anyio
import pytest
import sqlalchemy as sa

from db import session
from db.models import FIRST_PROJECT, LoginSession, Project, Token, User
from db.repositories import accounts, credentials
from refault.client.connection import SESSION_COOKIE
from services.api.app import create_api
from services.api.site import Site
from tests.fixtures.api import PASSWORD, SERIES, in_process
from tests.patience import PATIENCE_SECONDS, eventually_async

pytestmark = pytest.mark.anyio


@pytest.fixture
def quick(api_settings, rows):
    """A service that asks often; by default it asks every five seconds."""
    api = create_api(api_settings.model_copy(update={"event_access_seconds": 0.1}))
    yield Site(api, None)
    api.state.resources.close()


@pytest.fixture
async def events(quick, rows, token):
    """The address of the events of a batch that never ends."""
    rows.register_simulator()
    async with in_process(quick, token) as http:
        row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
        body = {"traces": [rows.add_trace("boot")], "patch_sets": [row["id"]]}
        code = (await http.post("/api/v1/batches", json=body)).json()["code"]
    return f"/api/v1/batches/{code}/events"


def of_user(opened, name="anna"):
    return accounts.get_user(opened, name)


def revoke_token(opened):
    credentials.revoke(
        opened, opened.scalars(sa.select(Token).where(Token.name == "watcher")).one()
    )


def let_token_expire(opened):
    opened.execute(sa.update(Token).values(expires_at=sa.func.now()))


def log_out(opened):
    credentials.revoke_sessions(opened, of_user(opened))


def let_login_expire(opened):
    opened.execute(sa.update(LoginSession).values(expires_at=sa.func.now()))


def shut_out(opened):
    accounts.set_enabled(opened, of_user(opened), enabled=False)


def end_membership(opened):
    accounts.remove_member(opened, FIRST_PROJECT, of_user(opened))


def delete_user(opened):
    opened.execute(sa.delete(User).where(User.name == "anna"))


def narrow_token(opened):
    opened.execute(sa.update(Token).values(scopes=["submit"]))


async def watching(quick, rows, kind):
    """A client that may watch, with a token or a login of anna's."""
    rows.add_user("anna", "viewer")
    with session.transaction(rows.engine, FIRST_PROJECT) as opened:
        anna = of_user(opened)
        _, secret = credentials.mint_token(opened, "watcher", scopes=["read"], user_id=anna.id)
    if kind == "token":
        return in_process(quick, secret)
    async with in_process(quick) as http:
        body = {"name": "anna", "password": PASSWORD}
        login = (await http.post("/api/v1/sessions", json=body)).json()
    client = in_process(quick)
    client.cookies.set(SESSION_COOKIE, login["secret"])
    return client


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("token", revoke_token),
        ("token", let_token_expire),
        ("token", narrow_token),
        ("token", end_membership),
        ("token", shut_out),
        ("token", delete_user),
        ("login", log_out),
        ("login", let_login_expire),
        ("login", end_membership),
        ("login", shut_out),
    ],
)
async def test_watching_ends_soon_after_the_right_to_it(quick, rows, events, kind, end):
    answers = []
    has_ended = anyio.Event()
    client = await watching(quick, rows, kind)

    async def watch():
        answers.append(await client.get(events))
        has_ended.set()

    async with client, anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        # Several times it is asked, and goes on.
        await anyio.sleep(0.5)
        assert answers == []
        with session.transaction(rows.engine, FIRST_PROJECT) as opened:
            end(opened)
        with anyio.fail_after(PATIENCE_SECONDS):
            await has_ended.wait()
        again = await client.get(events)
    [answer] = answers
    assert answer.status_code == 200
    assert "batch.planned" in answer.text
    assert "event: finished" not in answer.text
    assert again.status_code in {401, 403}


async def test_a_share_link_watches_nothing_that_could_stay_open(quick, rows, events, token):
    """Its page is complete without events; so a revoked link leaves no stream behind."""
    async with in_process(quick, token) as http:
        place = events.replace("/events", "/shares")
        secret = (await http.post(place, json={})).json()["path"].removeprefix("/s/")
    async with in_process(quick, secret) as reader:
        assert (await reader.get(events)).status_code == 404


async def test_being_asked_again_does_not_use_up_the_requests_of_a_minute(
    quick, rows, events, token
):
    with session.transaction(rows.engine) as opened:
        opened.execute(sa.update(Project).values(requests_per_minute=1000))
    counted = sa.text("SELECT sum(done_count) FROM rate_windows")
    async with in_process(quick, token) as http, anyio.create_task_group() as tasks:
        tasks.start_soon(http.get, events)

        def count():
            with rows.engine.connect() as connection:
                return connection.scalar(counted)

        before = await eventually_async(count, "the count of the watch")
        await anyio.sleep(0.6)
        assert count() == before > 0
        tasks.cancel_scope.cancel()
