"""docs/ACCESS.md, cell by cell: every route of the service, as every kind of caller."""

import re
from pathlib import Path

import pytest

from db import session as sessions
from db.models import FIRST_PROJECT
from db.models.accounts import SCOPES
from db.repositories import accounts, credentials
from services.api.callers import SCOPES_OF_ROLE
from tests.api.test_resumable import PART, TUS, UPLOADS, metadata
from tests.api.test_tokens import logged_in
from tests.fixtures.api import SERIES, in_process, trace_bytes

pytestmark = pytest.mark.anyio

DOCUMENT = Path(__file__).parents[2] / "docs" / "ACCESS.md"
ROW = re.compile(r"\| `([A-Z]+) (/\S*)` \| ([^|]+) \| ([^|]*) \| ([^|]*) \| [^|]* \|")
TABLE = {
    (found[1], found[2]): (
        frozenset(found[3].replace("`", "").strip().split(" + ")),
        found[4].strip() == "yes",
        found[5].strip(),
    )
    for found in ROW.finditer(DOCUMENT.read_text())
}
CALLS = sorted(TABLE)
NOBODYS = "01900000-0000-7000-8000-00000000dead"
# Where the endpoint looks closer than the door, it looks at the body first.
BODIES = {
    ("POST", "/api/v1/tokens"): {"name": "x", "scopes": ["read"]},
    ("POST", "/api/v1/projects"): {"name": "main"},
    ("PUT", "/api/v1/me/password"): {"old": "not it, certainly", "new": "correct horse battery"},
    ("PUT", "/api/v1/sessions/current"): {"project": "nowhere"},
    ("POST", "/api/v1/users"): {"name": "viewer"},
    ("PATCH", "/api/v1/users/{user}"): {},
}
TOKENS = [
    *({scope} for scope in SCOPES),
    {"read", "upload"}, {"read", "submit"}, {"upload", "submit"}, {"read", "admin"}, set(SCOPES),
]  # fmt: skip
ROLES = [*SCOPES_OF_ROLE, "administrator"]


@pytest.fixture
def has_all(site, rows):
    for role in SCOPES_OF_ROLE:
        rows.add_user(role, role)
    rows.add_user("administrator", is_admin=True)


def address(template):
    """The route with names nobody has: who may is told so, who may not is told that."""
    filled = {"user": "nobody", "patch": "nothing", "form": "json", "batch": "b-zzzz"}
    filled |= {"digest": "0" * 64, "name": "not-found", "kernel": "nobodys", "number": "1"}
    return re.sub(r"\{(\w+)\}", lambda match: filled.get(match[1], NOBODYS), template)


async def may(caller, method, template):
    """Whether the caller gets past every door of a route."""
    body = BODIES.get((method, template))
    given = {"json": body} if body is not None else {}
    if method in {"POST", "PUT", "PATCH"} and body is None:
        given = {"content": b"{", "headers": {"content-type": "application/json"}}
    answer = await caller.request(method, address(template), **given)
    return answer.status_code not in {401, 403}, answer


def test_every_route_of_the_service_has_its_row_and_no_row_is_of_none(site):
    document = site.api.openapi()
    routes = {
        (method.upper(), template)
        for template, operations in document["paths"].items()
        for method in operations
    }
    assert set(TABLE) == routes


def test_no_route_is_kept_out_of_the_document(site):
    def walk(routes):
        for route in routes:
            inner = getattr(route, "original_router", None)
            if inner is not None:
                yield from walk(inner.routes)
            else:
                yield route

    hidden = [
        route.path
        for route in walk(site.api.routes)
        if not getattr(route, "include_in_schema", True) and "openapi" not in route.path
    ]
    assert hidden == []


async def test_a_stranger_gets_what_needs_nothing(site):
    async with in_process(site) as stranger:
        for method, template in CALLS:
            needs, _, _ = TABLE[method, template]
            is_let_in, answer = await may(stranger, method, template)
            if template in {"/api/v1/sessions", "/api/v1/sessions/oidc/finish"}:
                # Which is what a wrong password is told, or no such login.
                is_let_in = is_let_in or "needs a token" not in answer.text
            if template != "/metrics":
                assert is_let_in == (needs == {"nothing"}), f"{method} {template}: {answer.text}"


@pytest.mark.parametrize("scopes", TOKENS, ids=lambda scopes: "+".join(sorted(scopes)))
async def test_a_token_gets_what_its_scopes_need_and_nothing_else(site, rows, scopes):
    async with in_process(site, rows.mint_token(sorted(scopes))) as caller:
        for method, template in CALLS:
            needs, _, _ = TABLE[method, template]
            is_let_in, answer = await may(caller, method, template)
            expected = needs <= scopes | {"nothing", "known"}
            if template != "/metrics":
                assert is_let_in == expected, f"{method} {template}: {answer.status_code}"


@pytest.mark.parametrize("role", ROLES)
async def test_a_login_gets_what_its_role_has_and_nothing_else(site, has_all, role):
    scopes = SCOPES_OF_ROLE.get(role, SCOPES_OF_ROLE["maintainer"]) | {"nothing", "known", "person"}
    if role == "administrator":
        scopes |= {"administrator"}
    # Last, since it ends the login.
    calls = sorted(CALLS, key=lambda call: call == ("DELETE", "/api/v1/sessions/current"))
    async with logged_in(site, role) as caller:
        for method, template in calls:
            needs, _, _ = TABLE[method, template]
            is_let_in, answer = await may(caller, method, template)
            if template == "/api/v1/me/password":
                # A wrong old password is a 403 too, and says so.
                is_let_in = "old password" in answer.text
            if template != "/metrics":
                assert is_let_in == (needs <= scopes), f"{method} {template}: {answer.text[:200]}"


async def test_a_link_opens_what_the_table_says_of_its_batch_and_nothing_else(site, rows, http):
    code = await batch_of(http, rows)
    made = (await http.post(f"/api/v1/batches/{code}/shares", json={})).json()
    async with in_process(site, made["path"].removeprefix("/s/")) as reader:
        for method, template in CALLS:
            needs, is_by_link, _ = TABLE[method, template]
            if needs == {"nothing"}:
                continue
            place = address(template.replace("{batch}", code))
            answer = await reader.request(method, place)
            if is_by_link:
                assert answer.status_code == 200, f"{method} {template}: {answer.text}"
                other = await reader.request(method, address(template))
                assert other.status_code == (200 if template == "/api/v1/me" else 404)
            else:
                assert answer.status_code in {403, 404}, f"{method} {template}: {answer.text}"


async def batch_of(http, rows, digest=None):
    rows.register_simulator()
    digest = digest or rows.add_trace("boot")
    chosen = (await http.post("/api/v1/patch_sets", json=SERIES)).json()["id"]
    body = {"traces": [digest], "patch_sets": [chosen], "plan": "each"}
    return (await http.post("/api/v1/batches", json=body)).json()["code"]


# --- the column "of others" -----------------------------------------------------------------------


def test_the_rows_that_look_at_makers_are_those_tested_below():
    assert {call for call, (_, _, of_others) in TABLE.items() if of_others} == {
        ("DELETE", "/api/v1/traces/{trace}"),
        # tests/api/test_imported_bundles.py
        ("DELETE", "/api/v1/bundles/{bundle}"),
        # tests/api/test_batch_titles.py
        ("PATCH", "/api/v1/batches/{batch}"),
        # tests/api/test_notes.py
        ("DELETE", "/api/v1/notes/{note}"),
        ("PATCH", "/api/v1/notes/{note}"),
        # tests/api/test_kernels.py
        ("DELETE", "/api/v1/kernels/{kernel}"),
        ("PATCH", "/api/v1/uploads/{upload}"),
        ("DELETE", "/api/v1/uploads/{upload}"),
        ("POST", "/api/v1/uploads/{upload}"),
        ("DELETE", "/api/v1/tokens/{token}"),
    }


@pytest.fixture
def pushers(rows):
    """Tokens of a program each that may upload, of a person, and of a maintainer."""
    rows.add_user("carl", "contributor")
    rows.add_user("cleo", "contributor")
    with sessions.transaction(rows.engine, FIRST_PROJECT) as opened:
        carl = accounts.get_user(opened, "carl").id
        made = {
            name: credentials.mint_token(opened, name, scopes=["upload"], user_id=carl)[1]
            for name in ("one", "two")
        }
    return made | {
        "nobody's": rows.mint_token(["upload"]),
        "reading": rows.mint_token(["read", "upload"]),
        "admin": rows.mint_token(["upload", "admin"]),
    }


async def uploaded(site, secret, name):
    async with in_process(site, secret) as http:
        answer = await http.post("/api/v1/traces", content=trace_bytes(name=name))
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]


async def begun(site, secret):
    data = trace_bytes()
    async with in_process(site, secret) as http:
        answer = await http.post(UPLOADS, headers=TUS | {"upload-length": str(len(data))})
        assert answer.status_code == 201, answer.text
        return answer.headers["location"], data


@pytest.mark.parametrize("other", ["two", "nobody's", "reading"])
async def test_an_upload_token_deletes_what_it_uploaded_and_nothing_else(site, pushers, other):
    trace = await uploaded(site, pushers["one"], "carls")
    async with in_process(site, pushers[other]) as http:
        refused = await http.delete(f"/api/v1/traces/{trace}")
        cascade = await http.delete(f"/api/v1/traces/{trace}", params={"cascade": True})
    async with in_process(site, pushers["one"]) as http:
        own_cascade = await http.delete(f"/api/v1/traces/{trace}", params={"cascade": True})
        dry = await http.delete(f"/api/v1/traces/{trace}", params={"dry_run": True})
        deleted = await http.delete(f"/api/v1/traces/{trace}")
    assert [refused.status_code, cascade.status_code, own_cascade.status_code] == [403] * 3
    assert (dry.status_code, deleted.status_code) == (403, 200)


async def test_a_maintainer_deletes_what_others_uploaded(site, pushers):
    trace = await uploaded(site, pushers["one"], "carls")
    async with in_process(site, pushers["admin"]) as http:
        assert (await http.delete(f"/api/v1/traces/{trace}")).status_code == 200


async def test_a_person_deletes_what_their_tokens_uploaded_and_not_a_colleagues(site, pushers):
    first = await uploaded(site, pushers["one"], "carls")
    second = await uploaded(site, pushers["nobody's"], "nobodys")
    async with logged_in(site, "cleo") as cleo:
        for trace in (first, second):
            assert (await cleo.delete(f"/api/v1/traces/{trace}")).status_code == 403
            assert (
                await cleo.delete(f"/api/v1/traces/{trace}", params={"dry_run": True})
            ).status_code == 200
    async with logged_in(site, "carl") as carl:
        assert (await carl.delete(f"/api/v1/traces/{second}")).status_code == 403
        assert (await carl.delete(f"/api/v1/traces/{first}")).status_code == 200
        # A token of theirs does not delete what they uploaded with a browser.
        third = await carl.post("/api/v1/traces", content=trace_bytes(name="by hand"))
        async with in_process(site, pushers["one"]) as http:
            refused = await http.delete(f"/api/v1/traces/{third.json()['id']}")
    assert refused.status_code == 403


async def test_a_trace_of_before_makers_were_written_down_is_a_maintainers(site, rows, pushers):
    digest = rows.add_trace("old")
    async with in_process(site, pushers["reading"]) as http:
        assert (await http.delete(f"/api/v1/traces/{digest}")).status_code == 403
    async with in_process(site, pushers["admin"]) as http:
        assert (await http.delete(f"/api/v1/traces/{digest}")).status_code == 200


async def test_a_trace_that_batches_have_stays_and_who_may_not_read_is_not_told_which(
    site, rows, http, pushers
):
    trace = await uploaded(site, pushers["one"], "carls")
    code = await batch_of(http, rows, trace)
    async with in_process(site, pushers["one"]) as blind:
        told = await blind.delete(f"/api/v1/traces/{trace}")
    async with logged_in(site, "carl") as carl:
        open_one = await carl.delete(f"/api/v1/traces/{trace}")
    assert (told.status_code, open_one.status_code) == (409, 409)
    assert code not in told.text
    assert code in open_one.text


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "POST"])
async def test_an_upload_is_gone_on_with_and_ended_by_who_began_it(site, pushers, method):
    place, data = await begun(site, pushers["one"])
    headers = PART | {"upload-offset": "0"}
    if method == "POST":
        headers |= {"x-http-method-override": "PATCH"}
    given = {"headers": headers, "content": data[:100] if method != "DELETE" else b""}
    for other in ("two", "nobody's", "reading"):
        async with in_process(site, pushers[other]) as http:
            assert (await http.request(method, place, **given)).status_code == 403
            if method == "POST":
                for override in ("HEAD", "DELETE"):
                    asked = TUS | {"x-http-method-override": override}
                    assert (await http.post(place, headers=asked)).status_code == 403
    async with in_process(site, pushers["one"]) as http:
        assert (await http.request(method, place, **given)).status_code == 204
    place, data = await begun(site, pushers["one"])
    async with in_process(site, pushers["admin"]) as http:
        assert (await http.request(method, place, **given)).status_code == 204


async def test_a_token_revokes_itself_and_no_other_unless_it_is_an_admins(site, rows, pushers):
    ids = {}
    for name, secret in pushers.items():
        async with in_process(site, secret) as http:
            ids[name] = (await http.get("/api/v1/me")).json()["id"]
            listed = (await http.get("/api/v1/tokens")).json()["items"]
            assert ([entry["id"] for entry in listed] == [ids[name]]) == (name != "admin")
    async with in_process(site, pushers["one"]) as http:
        for other in ("two", "nobody's", "admin"):
            assert (await http.delete(f"/api/v1/tokens/{ids[other]}")).status_code in {403, 404}
    for name in ("one", "nobody's"):
        async with in_process(site, pushers[name]) as http:
            assert (await http.delete(f"/api/v1/tokens/{ids[name]}")).status_code == 204
            assert (await http.get("/api/v1/me")).status_code == 401
    async with in_process(site, pushers["admin"]) as http:
        assert (await http.delete(f"/api/v1/tokens/{ids['two']}")).status_code == 204


# --- what writes, and reads -----------------------------------------------------------------------


async def test_an_upload_token_reads_nothing_by_changing_nothing(site, http, pushers):
    trace = (await http.post("/api/v1/traces", content=trace_bytes(), params={"name": "x"})).json()
    async with in_process(site, pushers["nobody's"]) as blind:
        assert (await blind.patch(f"/api/v1/traces/{trace['id']}", json={})).status_code == 403


async def test_who_may_not_read_is_not_shown_what_people_said_of_a_trace_it_brings_again(
    site, http, pushers
):
    said = {"name": "confidential", "note": "for the board", "tag": ["secret-plan"]}
    data = trace_bytes(name="in the file")
    assert (await http.post("/api/v1/traces", content=data, params=said)).status_code == 201
    digest = (await http.get("/api/v1/traces")).json()["items"][0]["digest"]
    async with in_process(site, pushers["nobody's"]) as blind:
        for answer in (
            await blind.post("/api/v1/traces", content=data),
            await blind.put(f"/api/v1/blobs/{digest}", content=data),
            await blind.post(
                UPLOADS,
                headers=PART
                | {"upload-length": str(len(data)), "upload-metadata": metadata(sha256=digest)},
                content=data,
            ),
        ):
            assert answer.status_code in {200, 201}
            assert "confidential" not in answer.text + str(answer.headers)
            assert "board" not in answer.text
            assert "secret-plan" not in answer.text
