"""The pages of questions: asked from a finding, answered, walked on from."""

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.api.test_batch_audits import answer_all, wanted  # noqa: F401 - a fixture
from tests.api.test_questions import answer
from tests.builders import make_broken
from tests.dashboard.test_doors import form_key, log_in
from tests.dashboard.test_pages import HOSTILE, Page
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio

VIEW = {"answer": {"operation_index": 7}, "text": f"boot under p3: {HOSTILE}\n"}


@pytest.fixture
def trace(rows):
    rows.register_simulator()
    return rows.add_trace("boot")


async def test_a_view_is_asked_for_answered_and_walked_on_from(anna, rows, trace):
    place = f"/questions/new?trace={trace}&variant=p3&operation=7&gfn=0x107"
    page = await anna.get(place)
    assert 'name="gfn" value="0x107"' in page.text
    fields = {
        "form_key": form_key(page), "kind": "inspection", "trace": trace, "variant": "p3",
        "operation": "7", "gfn": "0x107", "gva": "", "level": "",
    }  # fmt: skip
    asked = await anna.post("/questions", data=fields)
    assert asked.status_code == 303
    address = asked.headers["location"]

    waiting = await anna.get(address)
    assert '<meta http-equiv="refresh" content="2">' in waiting.text
    assert "A worker answers it" in waiting.text
    answer(rows, VIEW)
    done = await anna.get(address)
    assert "http-equiv" not in done.text
    assert HOSTILE not in done.text, "an answer is text"
    assert "boot under p3: " in done.text
    assert done.text.count('name="operation" value="8"') == 1
    assert "100 back" not in done.text, "nothing is before the first operation"
    listed = await anna.get("/questions")
    assert f'href="{address}"' in listed.text
    assert "operation 7, gfn 0x107" in listed.text
    for each in (page, waiting, done, listed):
        assert Page(each).text


async def test_a_question_without_an_answer_says_why(anna, rows, trace):
    page = await anna.get("/questions/new")
    fields = {"form_key": form_key(page), "kind": "audit", "trace": trace, "variant": "base"}
    asked = await anna.post("/questions", data=fields)
    answer(rows, error="the trace is damaged")
    told = (await anna.get(asked.headers["location"])).text
    assert "There is no answer: " in told
    assert "the trace is damaged" in told


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"operation": "noon"}, "expected a number"),
        ({"gva": "1", "gfn": "1"}, "two views"),
        ({"variant": "nosuch"}, "not in the catalogue"),
        ({"kind": "guess"}, "kind must be one of"),
        ({"kind": "divergence", "second": ""}, ""),
        ({"variant": "p3" * 2_000}, "more than 2000 characters"),
        ({"form_key": "another"}, ""),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_asked(anna, rows, trace, change, says):
    page = await anna.get("/questions/new")
    fields = {"form_key": form_key(page), "kind": "inspection", "trace": trace, "variant": "p3"}
    told = await anna.post("/questions", data=fields | change)
    assert told.status_code in {403, 422}
    assert says in told.text
    assert "No questions yet" in (await anna.get("/questions")).text


async def test_a_viewer_gets_no_form(site, rows, trace):
    rows.add_user("vic", "viewer")
    async with in_process(site) as client:
        client.headers["origin"] = "http://refault.test"
        await log_in(client, name="vic")
        page = (await client.get(f"/questions/new?trace={trace}")).text
    assert '<form class="question"' not in page
    assert "Asking needs a login with the scope" in page


async def test_a_finding_leads_to_the_place_right_after_it(http, rows, wanted):  # noqa: F811
    code = (await http.post("/api/v1/batches", json=wanted | {"audit": "flush"})).json()["code"]
    answer_all(rows, {"p2": [make_broken("F-H1", operation_index=41)]})
    page = Page(await http.get(f"/batches/{code}"))
    links = [tag["href"] for tag in page.all("a")]
    [link] = [link for link in links if link.startswith("/questions/new")]
    asked = parse_qs(urlsplit(link).query)
    assert asked == {
        "trace": wanted["traces"], "variant": ["p2"], "operation": ["42"], "gfn": ["0x300"],
    }  # fmt: skip
