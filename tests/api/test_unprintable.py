"""Text that may neither be stored nor shown, at every door there is.

The walk goes over the OpenAPI document: a parameter or a field that is new is tried as soon as it
is in there.
"""

import base64
import itertools
import json
import re
import threading
import tracemalloc

import pytest

from refault.client.connection import FORM_KEY_HEADER, SESSION_COOKIE
from refault.trace import header
from services.api import admin
from services.api.texts import unprintable_in
from services.dashboard import batch_pages
from tests.api.team import fill
from tests.api.test_every_route import METHODS, Walk
from tests.api.test_resumable import TUS, UPLOADS
from tests.fixtures.api import PASSWORD, in_process, trace_bytes

pytestmark = pytest.mark.anyio

BAD = {
    "a lone surrogate": "\ud800",
    "NUL": "\0",
    "the character that stopped the chart library": "a\u0001",
    "ESC": "\x1b[31m",
    "a noncharacter": "\uffff",
    "another noncharacter": "\ufffe",
    "a bidirectional control": "\u202e",
    "a line of its own": "one\ntwo",
}
# Over HTTP a lone surrogate can only be written in JSON.
IN_ADDRESSES = {kind: text for kind, text in BAD.items() if kind != "a lone surrogate"}


@pytest.fixture
async def walk(site, rows, http):
    owned = await fill(site, rows)
    return Walk((await http.get("/api/v1/openapi.json")).json(), owned)


@pytest.fixture
async def administrator(site, rows):
    """Somebody who is let in everywhere, so that nothing is refused before its text is read."""
    rows.add_user("root", "maintainer", is_admin=True)
    async with in_process(site) as http:
        opened = (
            await http.post("/api/v1/sessions", json={"name": "root", "password": PASSWORD})
        ).json()
        http.cookies.set(SESSION_COOKIE, opened["secret"])
        me = (await http.get("/api/v1/me")).json()
        http.headers[FORM_KEY_HEADER] = me["form_key"]
        yield http


def texts_of(schema, document, place=()):
    """Each (place, whether of several lines) of a body's schema that takes text."""
    schema = resolved(schema, document)
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from texts_of(option, document, place)
    if schema.get("type") == "string":
        yield place
    for name, inner in schema.get("properties", {}).items():
        yield from texts_of(inner, document, (*place, name))
    if schema.get("type") == "array":
        yield from texts_of(schema.get("items", {}), document, (*place, 0))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from texts_of(schema["additionalProperties"], document, (*place, "key"))


def resolved(schema, document):
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def put_at(place, text):
    """A body with a text at a place, and nothing else."""
    if not place:
        return text
    step, *rest = place
    inner = put_at(rest, text)
    return [inner] if step == 0 else {step: inner}


def json_bodies(walk):
    for method, template, address in walk.routes():
        operation = walk.document["paths"][template][method.lower()]
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            yield method, address, content["application/json"]["schema"]


@pytest.mark.parametrize("kind", BAD)
async def test_every_text_of_every_body_is_refused_where_it_stands(walk, administrator, kind):
    tried = 0
    for method, address, schema in json_bodies(walk):
        for place in texts_of(schema, walk.document):
            lines = kind == "a line of its own" and place in {("note",), ("text",)}
            # As a sender may write it: Python's own encoder writes surrogates as escapes.
            body = json.dumps(put_at(place, BAD[kind])).encode()
            answer = await administrator.request(
                method, address, content=body, headers={"content-type": "application/json"}
            )
            where = f"{method} {address} {place}: {answer.status_code} {answer.text[:300]}"
            pointer = "".join(f"/{step}" for step in place)
            if lines:
                # A text of several lines may have one; that the rest is missing is told.
                errors = answer.json().get("errors", ())
                assert answer.status_code < 500, where
                assert pointer not in {entry.get("pointer") for entry in errors}, where
                continue
            assert answer.status_code == 422, where
            assert answer.headers["content-type"] == "application/problem+json", where
            assert pointer in {entry.get("pointer") for entry in answer.json()["errors"]}, where
            tried += 1
    assert tried > 25


async def test_a_key_that_cannot_be_shown_is_refused_and_shown_as_an_escape(walk, administrator):
    tried = 0
    for method, address, _ in json_bodies(walk):
        for text in ("\ud800", "\x1b"):
            answer = await administrator.request(
                method,
                address,
                content=json.dumps({text: 1}).encode(),
                headers={"content-type": "application/json"},
            )
            assert answer.status_code == 422, (method, address, answer.text)
            assert re.search(r"/\\(ud800|x1b)", answer.json()["errors"][0]["pointer"])
            tried += 1
    assert tried > 10


async def test_a_body_as_deep_as_the_decoder_takes_is_answered(administrator):
    for depth in (100, 900, 100_000):
        answer = await administrator.post(
            "/api/v1/patch_sets",
            content=b'{"name":' + b"[" * depth + b'"\\ud800"' + b"]" * depth + b"}",
            headers={"content-type": "application/json"},
        )
        assert answer.status_code in {400, 422}, answer.text


async def test_a_body_of_very_many_values_is_refused_before_each_is_looked_at(administrator):
    for body in ({"traces": [[]] * 300_000}, {"traces": [{"a": [1] * 10}] * 20_000}):
        answer = await administrator.post("/api/v1/batches", json=body)
        assert answer.status_code == 422
        assert "more than 20000 values" in answer.json()["detail"]


def test_looking_at_a_deep_and_wide_body_takes_little_more_memory_than_the_body():
    body = [["\ud800"] * 10_000]
    for _ in range(2000):
        body = [body]
    tracemalloc.start()
    try:
        places = list(itertools.islice(unprintable_in(body), 20))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert all(len(place) == 2002 for place, _ in places)
    assert peak_bytes < 8 << 20


async def test_a_refusal_stays_small_however_much_of_the_body_is_wrong(administrator):
    unknown = {f"key{number}": 1 for number in range(15_000)}
    deep = '{"' + "k" * 1000 + '":'
    for body in (json.dumps(unknown), deep * 900 + '"\\ud800"' + "}" * 900):
        answer = await administrator.post(
            "/api/v1/patch_sets", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 422
        assert len(answer.content) < 10_000
    unknown["name"] = "x"
    detail = (await administrator.post("/api/v1/patch_sets", json=unknown)).json()["detail"]
    assert "and 14999 more" in detail


async def test_a_body_that_no_decoder_takes_is_refused_with_what_to_send(administrator):
    for body in (b'{"version":' + b"9" * 5000 + b"}", b"[" * 100_000):
        answer = await administrator.post(
            "/api/v1/patch_sets", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400
        assert answer.json()["type"] == "/problems/unreadable-body"


@pytest.mark.parametrize("kind", IN_ADDRESSES)
async def test_every_parameter_of_every_route_is_refused_by_name(walk, http, kind):
    bad = IN_ADDRESSES[kind]
    tried = 0
    for template, operations in walk.document["paths"].items():
        for method in METHODS & set(operations):
            for parameter in operations[method].get("parameters", ()):
                if parameter["in"] == "header":
                    continue
                filled = re.sub(
                    r"\{\w+\}", lambda found: walk.ids.get(found[0][1:-1], "x"), template
                )
                query = None
                if parameter["in"] == "query":
                    query = {parameter["name"]: bad}
                else:
                    filled = template.replace("{" + parameter["name"] + "}", "BAD")
                    filled = re.sub(r"\{\w+\}", "x", filled)
                url = str(http.build_request("GET", filled, params=query).url)
                url = url.replace("BAD", "".join(f"%{byte:02x}" for byte in bad.encode()))
                answer = await http.request(method, url)
                where = f"{method} {url}: {answer.status_code} {answer.text[:200]}"
                is_note = (parameter["in"], parameter["name"]) == ("query", "note")
                if is_note and kind == "a line of its own":
                    assert "unprintable" not in answer.text, where
                    continue
                assert answer.status_code == 422, where
                if method != "head":
                    named = answer.json()["errors"][0]["parameter"]
                    assert named in {parameter["name"], "path"}, where
                tried += 1
    assert tried > 60


async def test_a_header_with_a_control_character_is_refused_by_name(http):
    for name in ("if-match", "upload-metadata", "user-agent", "idempotency-key"):
        answer = await http.get("/api/v1/traces", headers={name: b"a\x1bb"})
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["parameter"] == name


async def test_what_a_header_says_beyond_ascii_is_nothing_of_ours(http):
    answer = await http.get("/api/v1/traces", headers={"user-agent": "caf\xe9".encode()})
    assert answer.status_code == 200


@pytest.mark.parametrize("key", ["name", "note", "tags"])
async def test_the_metadata_of_a_resumable_upload_is_held_to_the_same(http, key):
    encoded = base64.b64encode(b"a\x1bb").decode()
    headers = TUS | {"upload-length": "100", "upload-metadata": f"{key} {encoded}"}
    answer = await http.post(UPLOADS, headers=headers)
    assert answer.status_code == 422, answer.text
    assert (await http.get(UPLOADS)).json()["items"] == []


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind != "a lone surrogate"])
@pytest.mark.parametrize("field", ["name", "capture_tool", "time_unit", "guest", "workload_marks"])
async def test_a_trace_whose_header_cannot_be_shown_is_refused_at_its_header(
    http, rows, monkeypatch, field, kind
):
    text = BAD[kind]
    value = {"1": text} if field in {"guest", "workload_marks"} else text
    with pytest.raises(Exception, match=f"header.{field}.*not printable"):
        trace_bytes(**{field: value})
    # As somebody writes it who has another writer.
    monkeypatch.setattr(header, "check_text", lambda *_args, **_given: None)
    data = trace_bytes(**{field: value})
    monkeypatch.undo()
    answer = await http.post("/api/v1/traces", content=data)
    assert answer.status_code == 422, answer.text
    assert f"header.{field}" in answer.json()["detail"]
    assert rows.nothing_is_left()


async def test_the_pages_refuse_it_too(site, stranger):
    answers = [
        await stranger.get("/s/rfs_%01"),
        await stranger.get("/batches/%1b"),
        await stranger.get("/login?next=%00"),
        await stranger.post("/login", data={"name": "a\x1b", "password": "x"}),
        await stranger.post("/login", data={"na\x1bme": "a", "password": "x"}),
    ]
    for answer in answers:
        assert answer.status_code == 422, (str(answer.url), answer.text)
        assert "\x1b" not in answer.text


async def test_numbers_of_five_thousand_digits_are_refused_wherever_one_is_read(walk, http, site):
    digits = "9" * 5000
    events = await http.get(
        f"/api/v1/batches/{walk.ids['batch']}/events", headers={"last-event-id": digits}
    )
    begun = await http.post(UPLOADS, headers=TUS | {"upload-length": digits})
    answers = [
        events,
        begun,
        await http.get(f"/batches/{walk.ids['batch']}?base={digits}"),
        await http.get(f"/api/v1/comparisons/{walk.ids['batch']}?base={digits}"),
        await http.post("/api/v1/traces", content=b"x", headers={"content-length": digits}),
    ]
    assert [answer.status_code for answer in answers] == [422, 400, 422, 422, 422]
    assert max(len(answer.content) for answer in answers) < 7000


def test_names_on_the_command_line_are_held_to_the_same(api_settings, rows, capsys):
    arguments = ["--database-url", api_settings.database_url]
    for name in ("a\x1b", "a\udc80"):
        assert admin.main([*arguments, "create-token", "main", name, "--scope", "read"]) == 2
        assert "name: character 2 is U+" in capsys.readouterr().err


async def test_a_page_that_grows_with_its_batch_is_made_beside_the_event_loop(
    walk, http, monkeypatch
):
    threads = []
    made = batch_pages.page_of

    def noted(*given, **also):
        threads.append(threading.current_thread())
        return made(*given, **also)

    monkeypatch.setattr(batch_pages, "page_of", noted)
    assert (await http.get(f"/batches/{walk.ids['batch']}")).status_code == 200
    assert threads
    assert threading.current_thread() not in threads
