"""Who looks at pages: a browser that has logged in."""

import pytest

from tests.dashboard.test_doors import log_in
from tests.fixtures.api import in_process


@pytest.fixture
def annas_role():
    """Files in which she has to do more have their own."""
    return "contributor"


@pytest.fixture
async def anna(site, rows, annas_role):
    """The browser of somebody who has logged in."""
    rows.add_user("anna", annas_role)
    async with in_process(site) as client:
        client.headers["origin"] = "http://refault.test"
        await log_in(client)
        yield client
