"""The frame around every page: where it leads, and where one is."""

import pytest

from db.models import FIRST_PROJECT
from db.repositories import accounts
from tests.builders import transaction
from tests.dashboard.test_doors import form_key, log_in
from tests.dashboard.test_pages import Page, submit
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio


def entries(page):
    """Address and aria-current of each link of the bar, by the order on the page."""
    links = [tag for tag in page.all("a") if tag["href"].startswith("/") and "class" not in tag]
    return {tag["href"]: tag.get("aria-current") for tag in links}


async def test_every_entry_of_the_bar_leads_to_a_page_that_marks_it(anna):
    home = entries(Page(await anna.get("/")))
    assert {"/batches", "/traces", "/kernels", "/questions"} <= set(home)
    assert "page" not in home.values()
    for place in ("/batches", "/traces", "/kernels", "/questions"):
        answer = await anna.get(place)
        assert answer.status_code == 200, place
        current = [href for href, at in entries(Page(answer)).items() if at == "page"]
        assert current == [place]


async def test_a_page_below_a_list_marks_the_list(anna, http, rows):
    code = await submit(http, rows.ready_for_seed_series())

    found = entries(Page(await anna.get(f"/batches/{code}")))

    assert found["/batches"] == "page"
    assert found["/traces"] is None


async def test_a_stranger_sees_no_entry_that_leads_to_the_login(stranger, http, rows):
    code = await submit(http, rows.ready_for_seed_series())
    link = (await http.post(f"/api/v1/batches/{code}/shares", json={})).json()["path"]

    for place in ("/login", link, "/s/rfs_nothing"):
        assert "/batches" not in entries(Page(await stranger.get(place))), place


async def test_an_error_leads_on(anna, stranger):
    lost = Page(await anna.get("/batches/b-none"))
    assert {"/", "/batches", "/traces"} <= set(entries(lost))
    assert "anna" in lost.text
    assert "Log out" in lost.text

    unknown = Page(await stranger.get("/nothing"))
    assert "/batches" not in entries(unknown)
    assert "Log out" not in unknown.text


async def test_the_lists_have_pages_of_their_own(anna, http, rows):
    empty = Page(await anna.get("/traces"))
    assert "No traces yet" in empty.text
    for number in range(21):
        rows.add_trace(f"trace {number}")

    first = Page(await anna.get("/traces"))
    (older,) = [tag["href"] for tag in first.all("a") if tag["href"].startswith("/traces?after=")]
    second = Page(await anna.get(older))

    assert "trace 20" in first.text
    assert "trace 0 " not in first.text
    assert "trace 0 " in second.text


@pytest.fixture
async def lonely(site, rows):
    """The browser of a user who is in no project."""
    rows.add_user("lonely")
    async with in_process(site) as client:
        client.headers["origin"] = "http://refault.test"
        await log_in(client, name="lonely")
        yield client


async def test_a_user_without_a_project_is_told_what_to_do(lonely):
    for place in ("/", "/batches", "/traces"):
        answer = await lonely.get(place)
        assert answer.status_code == 403, place
        text = Page(answer).text
        assert "You are in no project yet" in text, place
        assert "set-member PROJECT lonely contributor" in text, place
        assert "Log out" in text, place


async def test_a_user_added_later_chooses_the_project(lonely, rows):
    # The login was opened before there was a project to choose.
    with transaction(rows.engine) as session:
        user = accounts.find_user(session, "lonely")
        accounts.set_role(session, FIRST_PROJECT, user, "viewer")

    page = await lonely.get("/")

    assert "Choose a project" in page.text
    data = {"form_key": form_key(page), "project": "main"}
    assert (await lonely.post("/project", data=data)).status_code == 303
    assert (await lonely.get("/")).status_code == 200


async def test_a_login_that_succeeds_is_no_guess(site, rows, api_settings):
    rows.add_user("anna", "viewer")
    async with in_process(site) as client:
        client.headers["origin"] = "http://refault.test"
        for _ in range(2 * api_settings.login_tries):
            assert (await log_in(client)).status_code == 303
            client.cookies.clear()


async def test_home_says_that_no_worker_runs(anna, rows):
    assert "No worker is running" in Page(await anna.get("/")).text
    rows.register_simulator()
    assert "No worker is running" not in Page(await anna.get("/")).text
