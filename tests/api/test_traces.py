import pytest

from refault.errors import TraceTooLarge
from refault.trace import header
from tests.builders import digest_of
from tests.fixtures.api import trace_bytes

pytestmark = pytest.mark.anyio

TRACES = "/api/v1/traces"


async def test_a_trace_is_found_by_id_by_digest_and_by_the_start_of_its_digest(http, rows):
    digest = rows.add_trace("boot")
    by_digest = (await http.get(f"{TRACES}/{digest}")).json()

    for name in (by_digest["id"], digest[:8]):
        assert (await http.get(f"{TRACES}/{name}")).json() == by_digest
    assert by_digest["header"]["capture_tool"] == "qemu plugin"


@pytest.mark.parametrize("name", ["nothing", digest_of("nothing"), "0" * 7, "..%2Fbatches"])
async def test_a_trace_that_is_not_there_is_a_404(http, name):
    answer = await http.get(f"{TRACES}/{name}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_lists_are_paged_newest_first_and_whole(http, rows):
    names = [f"trace {number}" for number in range(7)]
    for name in names:
        rows.add_trace(name)
    found, cursor = [], None
    for _ in range(4):
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await http.get(TRACES, params=params)).json()
        found += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]

    assert found == names[::-1]
    assert cursor is None


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 501}, {"cursor": "nonsense"}])
async def test_a_page_that_cannot_be_is_refused_with_its_parameter(http, params):
    answer = await http.get(TRACES, params=params)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == next(iter(params))


async def test_a_trace_that_was_not_changed_is_not_sent_again(http, rows):
    digest = rows.add_trace("boot")
    first = await http.get(f"{TRACES}/{digest}")

    again = await http.get(
        f"{TRACES}/{digest}", headers={"if-none-match": f'W/"x", {first.headers["etag"]}'}
    )

    assert again.status_code == 304
    assert not again.content


async def test_a_list_stays_small_whatever_headers_and_notes_say(http, rows):
    """A guest of a MiB, from before there was a bound, stood in every list."""
    words = {f"word {index}": "g" * 4000 for index in range(250)}
    marks = [{"number": index, "count": 1, "meaning": "m" * 4000} for index in range(250)]
    digest = rows.add_trace("n" * 4000, guest=words, note="t" * 10_000, statistics={"marks": marks})
    listed = await http.get(TRACES)
    whole = await http.get(f"{TRACES}/{digest}")
    [entry] = listed.json()["items"]
    assert len(listed.content) < 20_000
    assert entry["guest"]["word 0"] == "g" * 199 + "…"
    assert len(entry["guest"]) == len(entry["statistics"]["marks"]) == 20
    assert whole.json()["guest"] == words
    assert whole.json()["note"] == "t" * 10_000


async def test_a_guest_that_says_too_much_is_refused_at_the_header(http, rows, monkeypatch):
    guest = {f"word {index}": "g" * 4000 for index in range(5)}
    with pytest.raises(TraceTooLarge, match=r"header.guest has \d+ characters, over the bound"):
        trace_bytes(guest=guest)
    monkeypatch.setattr(header, "check_text", lambda *_args, **_given: None)
    data = trace_bytes(guest=guest)
    monkeypatch.undo()
    answer = await http.post(TRACES, content=data)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/trace-out-of-bounds"
    assert "header.guest" in answer.json()["detail"]
    assert rows.nothing_is_left()
