"""Every route of the OpenAPI document, as somebody who may not use it.

A route that is new is walked as soon as it is in the document. One that needs a further id of the
first project gets it from ``team.fill``; until then it is asked with a name nobody has.
"""

import re

import pytest

from db import session
from db.models import FIRST_PROJECT
from db.repositories import credentials
from services.api.needs import need_of
from tests.api.team import NAMES, SERIES, fill
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio

# The same for everybody who has a token at all: the catalogue of the program itself.
CATALOGUE = {
    "/api/v1/patches",
    "/api/v1/patches/{patch}",
    "/api/v1/bases",
    "/api/v1/glossary",
    "/metrics",
}
METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}


class Walk:
    """The document of a service, and the ids of the first project to ask for."""

    def __init__(self, document, owned) -> None:
        self.document = document
        self.ids = owned.ids

    def routes(self):
        """Each (method, template, address with the ids in it).

        Reads come first: a batch that a write has resumed has an event stream without an end.
        """
        calls = [
            (method, template)
            for template, operations in self.document["paths"].items()
            for method in sorted(METHODS & set(operations))
        ]
        for method, template in sorted(calls, key=lambda call: call[0] not in {"get", "head"}):
            address = re.sub(
                r"\{(\w+)\}",
                lambda match: self.ids.get(match[1], self.ids["trace"]),
                template,
            )
            yield method.upper(), template, address

    def body(self, method, template):
        """An example of a body, with the first project's ids in the place of the example's."""
        operation = self.document["paths"][template][method.lower()]
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" not in content:
            return {"content": b"no trace"} if content else {}
        schema = self._resolved(content["application/json"]["schema"])
        example = dict((schema.get("examples") or [{}])[0])
        if "traces" in schema.get("properties", {}):
            example |= {"traces": [self.ids["digest"]], "patch_sets": [self.ids["patch_set"]]}
        return {"json": example}

    def _resolved(self, schema):
        name = schema.get("$ref", "").rpartition("/")[2]
        return self.document["components"]["schemas"][name] if name else schema


@pytest.fixture
async def walk(site, rows, http):
    owned = await fill(site, rows)
    return Walk((await http.get("/api/v1/openapi.json")).json(), owned)


async def answers(site, walk, token):
    """What a caller is answered everywhere: (method, template, answer)."""
    async with in_process(site, token) as caller:
        for method, template, address in walk.routes():
            answer = await caller.request(method, address, **walk.body(method, template))
            yield method, template, answer


def leaks_nothing(answer, place) -> bool:
    leaked = [name for name in NAMES if name in answer.text and name not in str(answer.url)]
    assert leaked == [], place
    return True


async def test_the_walk_goes_over_every_noun_with_ids_that_are_there(site, walk, token):
    """What the refusals below are worth: whoever may is answered on those very addresses."""
    seen = {}
    async for method, template, answer in answers(site, walk, token):
        if method in {"GET", "HEAD"}:
            seen[template] = answer.status_code
    assert len(seen) > 15
    not_found = {template for template, status in seen.items() if status == 404}
    # Only routes whose ids the walk does not know yet; those of the six nouns it does.
    known = {"trace", "digest", "patch_set", "batch", "run", "patch", "form", "name"}
    known |= {"kernel", "number"}
    assert {t for t in not_found if set(re.findall(r"\{(\w+)\}", t)) <= known} == set()
    assert seen["/api/v1/batches/{batch}/events"] == 200
    assert seen["/api/v1/blobs/{digest}"] == 200


@pytest.mark.parametrize("kind", ["stranger", "revoked", "expired", "made up", "another scheme"])
async def test_who_is_not_known_is_answered_nothing_but_what_is_public(site, rows, walk, kind):
    secret = None
    if kind in {"revoked", "expired"}:
        with session.transaction(rows.engine, FIRST_PROJECT) as opened:
            row, secret = credentials.mint_token(opened, kind, scopes=["read", "admin"])
            if kind == "revoked":
                credentials.revoke(opened, row)
            else:
                row.expires_at = row.created_at
    elif kind == "made up":
        secret = "rft_" + "A" * 43
    public = set()
    async with in_process(site) as caller:
        if secret:
            caller.headers["authorization"] = f"Bearer {secret}"
        if kind == "another scheme":
            caller.headers["authorization"] = "Basic YWRtaW46YWRtaW4="
        for method, template, address in walk.routes():
            answer = await caller.request(method, address, **walk.body(method, template))
            place = f"{method} {template}"
            assert leaks_nothing(answer, place)
            if need_of(method, template) == "nothing":
                public.add(place)
                continue
            assert answer.status_code == 401, place
            assert answer.headers["www-authenticate"].startswith("Bearer"), place
            if method != "HEAD":
                assert answer.json()["type"] == "/problems/unauthenticated", place
    assert public == {
        "GET /healthz",
        "GET /metrics",
        "GET /readyz",
        "GET /api/v1/glossary",
        "GET /api/v1/problems",
        "GET /api/v1/problems/{name}",
        "POST /api/v1/sessions",
        "GET /api/v1/sessions/oidc",
        "POST /api/v1/sessions/oidc",
        "POST /api/v1/sessions/oidc/finish",
    }


async def test_to_another_project_nothing_of_the_first_is_there(site, rows, walk):
    """Its maintainer, with every scope and with the first project's real ids."""
    foreign = rows.mint_token(project=rows.add_project("second"))
    asked = 0
    async for method, template, answer in answers(site, walk, foreign):
        place = f"{method} {template}: {answer.status_code} {answer.text[:300]}"
        assert answer.status_code < 500 or answer.status_code == 503, place
        assert leaks_nothing(answer, place)
        names = set(re.findall(r"\{(\w+)\}", template)) - {"name"}
        if template == "/api/v1/patches/{patch}/batches":
            # The patch is everybody's, the batches are their own: they have none.
            assert answer.json() == {"items": [], "next_cursor": None}, place
        elif names and template not in CATALOGUE:
            asked += 1
            # 422: the body is looked at before the id, and says the same whoever's it is.
            assert answer.status_code in {403, 404, 405, 412, 422}, place
    assert asked > 10


async def test_a_refusal_does_not_tell_whose_it_is(site, rows, walk):
    """A foreign id and an id nobody has are answered word for word alike."""
    foreign = rows.mint_token(project=rows.add_project("second"))
    for noun in ("trace", "patch_set", "run", "kernel"):
        unknown = "01900000-0000-7000-8000-00000000dead"
        async with in_process(site, foreign) as caller:
            told = [
                (await caller.get(f"/api/v1/{noun}s/{row_id}")).json()
                for row_id in (walk.ids[noun], unknown)
            ]
        texts = [
            str(problem | {"request_id": ""}).replace(row_id, "ID")
            for problem, row_id in zip(told, (walk.ids[noun], unknown), strict=True)
        ]
        assert texts[0] == texts[1]


async def test_a_batch_of_another_projects_things_is_refused(site, rows, walk):
    foreign = rows.mint_token(project=rows.add_project("second"))
    async with in_process(site, foreign) as caller:
        body = {"traces": [walk.ids["digest"]], "patch_sets": [walk.ids["patch_set"]]}
        answer = await caller.post("/api/v1/batches", json=body)
        listed = [
            (await caller.get(f"/api/v1/{noun}")).json()["items"]
            for noun in (
                "traces",
                "batches",
                "patch_sets",
                "kernels",
                "questions",
                "tokens",
                "members",
            )
        ]
    assert answer.status_code == 404
    assert SERIES not in answer.text
    assert all(entry["name"] == "tests" for entries in listed for entry in entries), (
        "only the token that asks"
    )


async def test_a_viewer_reads_and_changes_nothing(site, rows, walk):
    viewer = rows.mint_token(scopes=["read"])
    read = refused = 0
    async for method, template, answer in answers(site, walk, viewer):
        place = f"{method} {template}: {answer.status_code} {answer.text[:200]}"
        need = need_of(method, template)
        if method in {"GET", "HEAD", "OPTIONS"}:
            if need == "admin":
                assert answer.status_code == 403, place
            elif template in {"/api/v1/traces/{trace}", "/api/v1/batches/{batch}/events"}:
                assert answer.status_code == 200, place
                read += 1
        elif need != "nothing":
            assert answer.status_code in {403, 404, 422}, place
            if need in {"upload", "submit", "build", "admin"}:
                assert answer.status_code == 403, place
                refused += 1
    assert read == 2
    assert refused > 5
    async with in_process(site, rows.mint_token()) as http:
        assert (await http.get(f"/api/v1/traces/{walk.ids['digest']}")).status_code == 200
        assert len((await http.get("/api/v1/batches")).json()["items"]) == 1


async def test_what_the_rule_does_not_know_needs_the_most():
    assert need_of("GET", "/api/v1/novelties") == "read"
    assert need_of("POST", "/api/v1/novelties") == "admin"
    assert need_of("DELETE", "/api/v1/thresholds/1") == "admin"
    assert need_of("POST", "/anything") == "admin"
    assert need_of("POST", "/api/v1/problems") == "admin"
    assert need_of("PATCH", "/api/v1/uploads/1") == "upload"
    assert need_of("PUT", "/api/v1/blobs/1") == "upload"
    assert need_of("POST", "/api/v1/kernels/1/builds") == "build"
    assert need_of("GET", "/api/v1/webhooks") == "admin"
