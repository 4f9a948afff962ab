"""Who reads a page is looked up once for all of its reads of the API; a form's page each time."""

import pytest
import sqlalchemy as sa

from services.api import door
from tests.builders import transaction

pytestmark = pytest.mark.anyio


@pytest.fixture
def looks(monkeypatch):
    """Each time a caller is looked up."""
    found = []
    identify = door.identify

    def counted(session, secret):
        found.append(secret)
        return identify(session, secret)

    monkeypatch.setattr(door, "identify", counted)
    return found


@pytest.mark.parametrize("place", ["/", "/batches", "/traces", "/patches", "/project"])
async def test_a_page_looks_once_and_the_next_one_again(anna, looks, place):
    assert (await anna.get(place)).status_code == 200
    assert len(looks) == 1
    await anna.get(place)
    assert len(looks) == 2


async def test_a_right_that_is_lost_is_lost_on_the_next_page(anna, rows):
    assert (await anna.get("/batches")).status_code == 200
    with transaction(rows.engine) as session:
        session.execute(sa.text("DELETE FROM memberships"))
    assert (await anna.get("/batches")).status_code == 403


async def test_what_is_asked_of_the_api_itself_is_looked_up_each_time(anna, looks):
    for _ in range(2):
        assert (await anna.get("/api/v1/me")).status_code == 200
    assert len(looks) == 2
