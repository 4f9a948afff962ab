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


async def eventually(is_so):
    with anyio.fail_after(60):
        while not is_so():  # noqa: ASYNC110  # nothing of the service tells when
            await anyio.sleep(0.01)


async def test_a_batch_is_looked_at_once_however_many_watch_it(quick, rows, events, token):
    watchers = quick.api.state.resources.watchers
    looks = []
    count = lambda *given: looks.append(given) if "max(batch_events" in given[2] else None  # noqa: E731
    async with in_process(quick, token) as http, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(http.get, events)
        await eventually(lambda: watchers._streams["all"] == 20)
        [watched] = watchers._batches.values()
        [_] = watchers._credentials.values()
        sa.event.listen(quick.api.state.resources.engine, "before_cursor_execute", count)
        begun = watched.look_count
        await eventually(lambda: watched.look_count >= begun + 10)
        sa.event.remove(quick.api.state.resources.engine, "before_cursor_execute", count)
        assert len(looks) <= watched.look_count - begun + 1
        tasks.cancel_scope.cancel()
    assert watchers._batches == watchers._credentials == {}
    assert watchers._streams.total() == 0


async def test_streams_of_one_credential_are_bounded_and_anothers_go_on(
    api_settings, rows, events, token
):
    api = create_api(api_settings.model_copy(update={"event_streams_per_caller": 3}))
    watchers = api.state.resources.watchers
    site = Site(api, None)
    other = rows.mint_token()
    async with in_process(site, token) as http, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(http.get, events)
        await eventually(lambda: watchers._streams["all"] == 3)
        refused = await http.get(events)
        async with in_process(site, other) as second:
            tasks.start_soon(second.get, events)
            await eventually(lambda: watchers._streams["all"] == 4)
            tasks.cancel_scope.cancel()
    assert refused.status_code == 429
    assert refused.json()["type"] == "/problems/rate-limited"
    assert int(refused.headers["retry-after"]) > 0
    assert watchers._streams.total() == 0
    api.state.resources.close()


async def test_one_project_takes_no_more_than_half_of_the_streams(
    api_settings, rows, events, token
):
    api = create_api(api_settings.model_copy(update={"event_streams": 4}))
    watchers = api.state.resources.watchers
    async with in_process(Site(api, None), token) as http, anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(http.get, events)
        await eventually(lambda: watchers._streams["all"] == 2)
        refused = await http.get(events)
        tasks.cancel_scope.cancel()
    assert refused.status_code == 429
    assert "this project watches 2 streams" in refused.json()["detail"]
    api.state.resources.close()


async def test_all_streams_of_a_revoked_token_end_by_one_question(quick, rows, events):
    client = await watching(quick, rows, "token")
    answers = []

    async def watch():
        answers.append(await client.get(events))

    with anyio.fail_after(60):
        async with client, anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(watch)
            await eventually(lambda: quick.api.state.resources.watchers._streams["all"] == 20)
            with session.transaction(rows.engine, FIRST_PROJECT) as opened:
                revoke_token(opened)
    assert [answer.status_code for answer in answers] == [200] * 20


async def test_ordinary_requests_wait_for_no_stream(quick, rows, events, token):
    """Every thread that looks at batches is held; the others answer as ever."""
    watchers = quick.api.state.resources.watchers
    borrowers = [object() for _ in range(int(watchers._threads.total_tokens))]
    for borrower in borrowers:
        await watchers._threads.acquire_on_behalf_of(borrower)
    async with in_process(quick, token) as http, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(http.get, events)
        await eventually(lambda: watchers._streams["all"] == 20)
        with anyio.fail_after(60):
            assert (await http.get("/api/v1/traces")).status_code == 200
        tasks.cancel_scope.cancel()
