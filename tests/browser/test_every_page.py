"""Every page of a service that has been used, reached by links alone, in a real Chromium."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from refault.client import Client
from tests.browser.showroom import Visit, furnish, furnish_kernel, logged_in, page_routes
from tests.fixtures.browser import CONTRAST, Watched, log_in, needs_chromium

pytestmark = needs_chromium

# The data of a page, at its own address with a suffix (tests/dashboard/test_suffixes.py).
DATA = (".{form:suffix}", ".{form:table_suffix}")
# Pages nobody is led to by a link: parts of pages, what a form or a mail leads to, what is for
# those who are not logged in, and the form that only a service that builds has
# (tests/browser/test_kernel_batch.py).
NOT_LINKED = {
    "/b/{code}",
    "/batches.json",
    "/latest",
    "/timelines",
    "/traces.json",
    "/batches/new/kernel",
    "/batches/{batch}/parts",
    "/kernels/new",
    "/project.json",
    "/kernels/{kernel}/parts",
    "/login",
    "/login/oidc",
    "/login/oidc/callback",
    "/problems/{name}",
    "/s/{secret}",
    "/s/{secret}.{form}",
}


@pytest.fixture(scope="module")
def furnished(stack):
    with Client(stack.url, token=stack.token) as client:
        furnish(client)
    furnish_kernel(stack)
    return stack


@pytest.fixture(scope="module")
def visit(furnished):
    account = furnished.access
    with logged_in(furnished.url, account.user, account.password) as http:
        return Visit(http)


def test_no_link_of_any_page_is_broken(visit):
    assert visit.broken == []


def test_every_page_is_reached_by_links(visit):
    pages = {route for route in page_routes() if not route.endswith(DATA)}
    assert pages - NOT_LINKED - visit.by_route.keys() == set()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_can_be_read_by_everybody(chromium, furnished, visit, width, scheme):
    """Nothing for axe-core to find, nothing faint, nothing wider than the screen, no noise."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    account = furnished.access
    log_in(context, furnished.url, account.password, name=account.user).close()
    seen = Watched(context)
    wrong = {}
    for route, (path, *_) in visit.by_route.items():
        seen.page.goto(f"{furnished.url}{path}")
        found = [
            f"{each['id']}: {node['html']}"
            for each in Axe().run(seen.page).response["violations"]
            for node in each["nodes"]
        ]
        found += [f"faint: {text}" for text in seen.page.evaluate(CONTRAST)]
        wide = seen.page.evaluate("document.documentElement.scrollWidth")
        found += [f"{wide} px wide"] * (wide > width)
        if found:
            wrong[route] = found
    context.close()

    assert wrong == {}
    assert seen.was_quiet()
