"""What a read costs does not grow with what is stored: every GET of the API, and every page.

Routes come from the OpenAPI document and from the pages' own table, so one that is new is asked as
soon as it is there.
"""

import contextlib
import re

import pytest
import sqlalchemy as sa
from starlette.routing import Route

from db import scope, session
from db.models import FIRST_PROJECT, Trace
from db.repositories import batches, credentials, patch_sets, results
from db.shards import planning
from refault import catalogue
from refault.client.connection import SESSION_COOKIE
from services.api.comparisons.service import CELLS_MAX
from tests.api.team import fill
from tests.builders import make_result, transaction
from tests.fixtures.api import PASSWORD, SIMULATOR, bearer, in_process, runs_of

pytestmark = pytest.mark.anyio

QUERIES_MAX = 20
# The page of a run asks for its batch's comparison, timelines and attribution as well.
RUN_PAGE_QUERIES_MAX = 26
SERIES = "growing"


@contextlib.contextmanager
def queries(site):
    """The statements that the service executes meanwhile."""
    seen = []

    def see(_connection, _cursor, statement, *_rest):
        seen.append(statement)

    engine = site.api.state.resources.engine
    sa.event.listen(engine, "before_cursor_execute", see)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", see)


class Store:
    """A project that grows."""

    def __init__(self, rows) -> None:
        self.rows = rows
        self.versions = 0

    def add_batch(self, trace_count, column_count) -> str:
        """A batch of which every result is known, as ``column_count`` machines; its code."""
        names = [f"grown-{number}" for number in range(trace_count)]
        digests = [self.rows.add_trace(name) for name in names]
        with transaction(self.rows.engine) as opened:
            sets = [self._patch_set(opened, number) for number in range(column_count)]
            outcomes = [
                (
                    digest,
                    SIMULATOR,
                    results.Outcome(row.variant_digest, _result(digest, row.variant_digest)),
                )
                for digest in digests
                for row in sets
            ]
            results.write(opened, outcomes, worker="worker")
            found = opened.scalars(sa.select(Trace).where(Trace.digest.in_(digests))).all()
            planned = planning.write(
                opened,
                planning.expand(
                    traces=found,
                    patch_sets=sets,
                    plan="each",
                    simulators={"shadow": SIMULATOR},
                ),
            )
            assert planned.batch.state == "done"
            return planned.batch.code

    def _patch_set(self, opened, number):
        """A new version of one series, with the machine of that number."""
        self.versions += 1
        wanted = catalogue.PatchSet(parameters=catalogue.Parameters(page_limit=100 + number))
        row, _ = patch_sets.add(
            opened, f"limit {number}", wanted, series=SERIES, version=self.versions
        )
        return row

    def add_links(self, code, count) -> None:
        """Share links to a batch, each made with a token of its own."""
        for number in range(count):
            with session.transaction(self.rows.engine, FIRST_PROJECT) as opened:
                token, _ = credentials.mint_token(
                    opened, f"sharer-{number}", scopes=["read", "submit"]
                )
                scope.sign(opened, scope.Maker(token_id=token.id))
                credentials.share(opened, batches.get(opened, code), "tests", None)

    def add_people(self, count) -> None:
        """Users and tokens, as many as that."""
        for number in range(count):
            self.rows.add_user(f"user-{self.versions}-{number}", "viewer")
            with session.transaction(self.rows.engine, FIRST_PROJECT) as opened:
                credentials.mint_token(opened, f"token-{number}", scopes=["read"])


def _result(trace_digest, variant_digest):
    return make_result(
        trace_digest=trace_digest,
        variant_digest=variant_digest,
        counters={"exits": int(variant_digest[:4], 16)},
    )


class Reader:
    """Asks every route, as a token and as somebody who has logged in."""

    def __init__(self, site, token, document, ids) -> None:
        self.site, self.token, self.document, self.ids = site, token, document, ids
        self.cookie = self.link = ""

    async def log_in(self) -> None:
        async with in_process(self.site) as caller:
            body = {"name": "reader", "password": PASSWORD}
            opened = (await caller.post("/api/v1/sessions", json=body)).json()
            self.cookie = f"{SESSION_COOKIE}={opened['secret']}"
        async with in_process(self.site, self.token) as caller:
            share = await caller.post(f"/api/v1/batches/{self.ids['batch']}/shares", json={})
            self.link = share.json()["path"].rpartition("/")[2]

    async def look_at(self, batch) -> None:
        """From now on at this batch."""
        self.ids["batch"] = batch
        async with in_process(self.site, self.token) as caller:
            self.ids["run"] = (await runs_of(caller, batch))[0]["id"]
            listed = (await caller.get("/api/v1/patch_sets")).json()["items"]
            self.ids["patch_set"] = listed[0]["id"]
        await self.log_in()

    def routes(self):
        """Each (name, address with the ids in it, headers)."""
        ids = self.ids | {"secret": self.link}
        for template, operations in self.document["paths"].items():
            if "get" in operations:
                yield f"GET {template}", _filled(template, ids), bearer(self.token)
        # With the name of a problem for {name}, and of a form for {form}.
        for route in self.site.pages._app.routes:
            if isinstance(route, Route) and "GET" in route.methods:
                yield f"page {route.path}", _filled(route.path, ids), {"cookie": self.cookie}

    async def costs(self):
        """Status and number of queries of each route."""
        found = {}
        async with in_process(self.site) as caller:
            for name, address, headers in self.routes():
                with queries(self.site) as seen:
                    answer = await caller.get(address, headers=headers)
                # Tests have no broker, and /readyz says so.
                assert answer.status_code < 500 or name == "GET /readyz", f"{name}: {answer.text}"
                found[name] = (answer.status_code, len(seen), seen)
        return found


def _filled(template, ids):
    return re.sub(r"\{(\w+)\}", lambda match: ids.get(match[1], ids["trace"]), template)


@pytest.fixture
async def reader(site, rows, http, token):
    owned = await fill(site, rows)
    rows.add_user("reader", "maintainer")
    document = (await http.get("/api/v1/openapi.json")).json()
    return Reader(site, token, document, dict(owned.ids))


@pytest.fixture
def store(rows):
    return Store(rows)


async def test_no_read_needs_more_queries_because_more_is_stored(reader, store):
    for trace_count in (1, 2, 2):
        small = store.add_batch(trace_count, 2)
    await reader.look_at(small)
    await reader.costs()  # judges the batches: their verdicts are kept
    before = await reader.costs()

    for trace_count in range(1, 28):
        store.add_batch(1 + trace_count % 3, 3)
    large = store.add_batch(12, 6)
    store.add_people(10)
    store.add_links(large, 10)
    await reader.look_at(large)
    await reader.costs()
    after = await reader.costs()

    assert sum(status == 200 for status, _, _ in after.values()) > 30
    assert {name: status for name, (status, _, _) in after.items()} == {
        name: status for name, (status, _, _) in before.items()
    }
    grown = {
        name: (before[name][1], after[name][1])
        for name in after
        # A stream looks again and again until it has told all.
        if after[name][1] > before[name][1] and not name.endswith("/events")
    }
    assert grown == {}
    many = {
        name: count
        for name, (_, count, _) in after.items()
        if count > (RUN_PAGE_QUERIES_MAX if name == "page /runs/{run}" else QUERIES_MAX)
    }
    assert many == {}


@pytest.mark.parametrize("name", ["comparisons/{}", "comparisons/{}.svg", "batches/{}"])
async def test_no_result_is_read_twice_for_one_answer(site, reader, store, name):
    code = store.add_batch(3, 3)
    async with in_process(site, reader.token) as caller:
        with queries(site) as seen:
            answer = await caller.get(f"/api/v1/{name.format(code)}")

    assert answer.status_code == 200
    assert len([statement for statement in seen if "results.body" in statement]) <= 1


async def test_a_batch_is_judged_without_its_results(site, reader, store):
    code = store.add_batch(3, 3)
    async with in_process(site, reader.token) as caller:
        with queries(site) as seen:
            verdict = (await caller.get(f"/api/v1/batches/{code}")).json()["verdict"]

    assert verdict["status"] == "regression"
    assert [statement for statement in seen if "results.body" in statement] == []


async def test_results_without_facts_give_the_same_verdict_and_get_them_from_upkeep(
    site, rows, reader, store
):
    code = store.add_batch(2, 3)
    async with in_process(site, reader.token) as caller:
        known = (await caller.get(f"/api/v1/comparisons/{code}")).json()
        with transaction(rows.engine) as opened:
            stored = opened.execute(sa.text("SELECT id, facts FROM results ORDER BY id")).all()
            opened.execute(sa.text("UPDATE results SET facts = NULL"))
        without = (await caller.get(f"/api/v1/comparisons/{code}")).json()
    assert without == known

    with session.transaction(rows.engine) as opened:
        last = results.add_facts(opened, limit=4)
        assert last is not None
        assert results.add_facts(opened, after=last, limit=4) is None
        again = opened.execute(sa.text("SELECT id, facts FROM results ORDER BY id")).all()
    assert again == stored


async def test_comparisons_come_in_pages_that_are_the_whole_together(site, reader, store):
    columns = 6
    per_page = CELLS_MAX // columns
    code = store.add_batch(2 * per_page + 1, columns)
    pages, cursor = [], None
    async with in_process(site, reader.token) as caller:
        while cursor is not None or not pages:
            params = {"cursor": cursor} if cursor else {}
            page = (await caller.get(f"/api/v1/comparisons/{code}", params=params)).json()
            pages.append(page)
            cursor = page["next_cursor"]
        narrow = (await caller.get(f"/api/v1/comparisons/{code}", params={"limit": 2})).json()

    assert [len(page["comparisons"]) for page in pages] == [per_page, per_page, 1]
    shown = [entry for page in pages for entry in page["comparisons"]]
    overview = pages[0]["overview"]
    assert all(page["overview"] == overview for page in pages)
    assert all(page["verdict"] == pages[0]["verdict"] for page in pages)
    assert [entry["trace"]["digest"] for entry in shown] == [
        trace["digest"] for trace in overview["traces"]
    ]
    # What is judged by facts is what is judged by results.
    assert [[column["verdict"]["name"] for column in entry["columns"]] for entry in shown] == [
        trace["verdicts"] for trace in overview["traces"]
    ]
    assert [column["label"] for column in overview["columns"]] == [
        column["label"] for column in shown[0]["columns"]
    ]
    assert narrow["comparisons"] == shown[:2]


async def test_runs_are_listed_page_by_page_and_by_what_they_are(site, reader, store):
    code = store.add_batch(4, 3)
    address = f"/api/v1/batches/{code}/runs"
    found, cursor = [], None
    async with in_process(site, reader.token) as caller:
        whole = await runs_of(caller, code)
        while cursor is not None or not found:
            params = {"limit": 5} | ({"cursor": cursor} if cursor else {})
            page = (await caller.get(address, params=params)).json()
            assert len(page["items"]) <= 5
            found += page["items"]
            cursor = page["next_cursor"]
        one = whole[4]
        of_trace = await caller.get(address, params={"trace": one["trace_digest"]})
        of_variant = await caller.get(address, params={"variant": one["variant"]["digest"]})
        done = await caller.get(address, params={"state": ["cached", "failed"]})
        failed = await caller.get(address, params={"state": "failed"})

    assert found == whole
    assert len(whole) == 12
    assert len(of_trace.json()["items"]) == 3
    assert len(of_variant.json()["items"]) == 4
    assert len(done.json()["items"]) == 12
    assert failed.json()["items"] == []


async def test_every_parameter_of_a_read_has_bounds_and_says_which_it_is(reader, site):
    """Five thousand digits, and a text as long."""
    asked = 0
    async with in_process(site, reader.token) as caller:
        for template, operations in reader.document["paths"].items():
            for parameter in operations.get("get", {}).get("parameters", []):
                if parameter["in"] != "query":
                    continue
                asked += 1
                answer = await caller.get(
                    _filled(template, reader.ids), params={parameter["name"]: "9" * 5000}
                )
                place = f"{template} {parameter['name']}: {answer.text[:200]}"
                assert answer.status_code == 422, place
                assert parameter["name"] in str(answer.json()["errors"]), place
                assert "9" * 100 not in answer.text, place
    assert asked > 20


@pytest.mark.parametrize("parameter", ["base", "cursor", "trace", "have"])
@pytest.mark.parametrize("value", ["9" * 5000, "-1", "٣", "\x00"])
async def test_a_page_refuses_what_no_parameter_can_be(reader, store, site, parameter, value):
    await reader.look_at(store.add_batch(2, 2))
    for path in (f"/batches/{reader.ids['batch']}", f"/s/{reader.link}"):
        address = f"{path}/parts" if parameter == "have" else path
        async with in_process(site) as caller:
            answer = await caller.get(
                address, params={parameter: value}, headers={"cookie": reader.cookie}
            )
        if parameter == "have":
            assert answer.status_code in {200, 404, 422}, address
        else:
            assert answer.status_code == 422, address
