"""Charts are drawn where they can do no harm."""

import os
import re
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from refault.compare import chart, to_dict
from refault.compare.chart import CELLS_MAX
from refault.compare.comparison import compare
from refault.errors import DrawingTooLarge
from services.api.comparisons.drawing import Drawings
from services.api.refusals import Busy, DrawingFailed
from tests.builders import seed_series_columns
from tests.fixtures.api import SERIES, bearer
from tests.patience import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.anyio

NAMES = ["a\u0001", "\x1b[31m", "a\ufffe", "\uffffb", "]]>&<", "\u202eevil"]


def document(name="boot"):
    return to_dict(compare(seed_series_columns("linux61-boot-1cpu"), trace_name=name))


def wide(column_count):
    """A comparison with so many columns."""
    made = document()
    places = [place % len(made["columns"]) for place in range(column_count)]
    made["columns"] = [
        made["columns"][place] | {"labels": [f"column {at}"]} for at, place in enumerate(places)
    ]
    for row in (*made["semantics"], *made["counters"]):
        for key in ("values", "changes", "percents", "notable"):
            if key in row:
                row[key] = [row[key][place] for place in places]
    return made


@pytest.fixture
def drawings():
    made = Drawings(1, 1, PATIENCE_SECONDS)
    yield made
    made.close()


# What stops a process that draws, as the library gets it: none of ours says such a thing.
FATAL = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
    "data": {"values": [{"a": "b\u0001"}]},
    "mark": "text",
    "encoding": {"text": {"field": "a", "type": "nominal"}},
}


def test_a_text_that_aborts_the_library_ends_one_drawing_and_not_the_service(drawings):
    with pytest.raises(DrawingFailed, match="ended its process"):
        drawings.svg_of(FATAL, "anybody")
    assert drawings.svg_of(chart([document()]), "anybody").startswith("<svg")


def test_a_drawing_that_takes_too_long_is_killed():
    drawings = Drawings(1, 1, 0.001)
    with pytest.raises(DrawingFailed, match="took longer than"):
        drawings.svg_of(chart([document()]), "anybody")
    drawings.close()


def test_a_process_that_was_killed_while_it_waited_is_replaced(drawings):
    drawings.svg_of(chart([document("one")]), "anybody")
    [process] = drawings._idle
    os.kill(process._process.pid, signal.SIGKILL)
    process._process.wait()
    assert drawings.svg_of(chart([document("two")]), "anybody").startswith("<svg")


def test_more_drawings_than_may_wait_are_refused_and_told_when_to_come_again(drawings):
    """Two places, one of them for one project at most."""
    with drawings._turn("one"):
        with pytest.raises(Busy) as refused, drawings._turn("one"):
            raise AssertionError
        waiting = threading.Thread(target=drawings.svg_of, args=(chart([document()]), "two"))
        waiting.start()
        while drawings._asked["two"] == 0:
            waiting.join(0.01)
        with pytest.raises(Busy), drawings._turn("three"):
            raise AssertionError
    waiting.join()
    assert refused.value.retry_after_seconds > 0
    assert drawings.svg_of(chart([document()]), "three").startswith("<svg")


def test_what_cannot_be_shown_is_drawn_as_an_escape(drawings):
    svg = drawings.svg_of(chart([document(name) for name in NAMES]), "anybody")
    assert "a\\x01" in svg
    assert not any(character in svg for character in "\x01\x1b\ufffe\uffff\u202e")


def test_cells_too_many_are_refused_before_anything_is_drawn():
    with pytest.raises(DrawingTooLarge, match=f"maximum is {CELLS_MAX:,}.*fewer columns"):
        chart([wide(900) for _ in range(11)])


def test_a_specification_grows_with_its_cells_and_no_faster():
    """Labels in a list of their own were a condition each, asked for each cell."""
    sizes = [len(str(chart([wide(count)]))) / count for count in (50, 400)]
    assert sizes[1] < 1.5 * sizes[0]
    assert all(
        layer["encoding"][channel]["sort"] is None
        for layer in chart([wide(50)])["vconcat"][0]["layer"]
        for channel in ("x", "y")
    )


async def test_over_http_a_drawing_too_large_names_the_limit_and_the_remedy(
    http, rows, monkeypatch
):
    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules["refault.compare.chart"], "CELLS_MAX", 3)
    monkeypatch.setattr("services.dashboard.trace_section.CELLS_MAX", 3)
    digests = rows.ready_for_seed_series()
    row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    body = {"traces": digests, "patch_sets": [row["id"]], "plan": "series"}
    code = (await http.post("/api/v1/batches", json=body)).json()["code"]
    answer = await http.get(f"/api/v1/comparisons/{code}.svg")
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/drawing-too-large"
    assert "the maximum is 3" in answer.json()["detail"]
    assert (await http.get(f"/api/v1/comparisons/{code}.csv")).status_code == 200
    page = await http.get(f"/batches/{code}")
    assert "No chart: it would have more than 3 cells" in page.text
    assert "<img" not in page.text


def test_a_name_from_before_stops_no_server_whoever_has_the_link(server, rows):
    """A trace named ``a\\u0001``, and then its drawing, ended the API."""
    rows.register_simulator()
    trace = rows.add_trace("a\u0001")
    rows.know_base(trace)
    with httpx.Client(
        base_url=server.address, trust_env=False, timeout=PATIENCE_SECONDS
    ) as anybody:
        owner = bearer(server.token)
        row = anybody.post("/api/v1/patch_sets", json={"name": "none"}, headers=owner).json()
        body = {"traces": [trace], "patch_sets": [row["id"]]}
        code = anybody.post("/api/v1/batches", json=body, headers=owner).json()["code"]
        path = anybody.post(f"/api/v1/batches/{code}/shares", json={}, headers=owner).json()["path"]
        drawn = anybody.get(f"{path}.svg")
        assert anybody.get("/healthz").status_code == 200
    assert drawn.status_code == 200, drawn.text
    assert "a\\x01" in drawn.text
    assert server.process.is_alive()


def test_twenty_who_ask_for_one_chart_at_once_get_one_drawing(drawings, monkeypatch):
    """Nor do they take the places of others: two there are, and nobody is refused."""
    spec, goes_on, drawn = chart([document()]), threading.Event(), []
    draw = drawings._drawn

    def counted(text):
        drawn.append(text)
        goes_on.wait(PATIENCE_SECONDS)
        return draw(text)

    monkeypatch.setattr(drawings, "_drawn", counted)
    with ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(drawings.svg_of, spec, "one") for _ in range(20)]
        eventually(lambda: len(threads._threads) == 20 and drawn, "twenty who ask")
        goes_on.set()
        pictures = {each.result() for each in asked}
    assert len(drawn) == len(pictures) == 1
    assert drawings.svg_of(spec, "another") in pictures
    assert len(drawn) == 1
    assert not drawings._coming
    assert sum(map(len, drawings._kept.values())) == drawings._kept_bytes < len(*pictures) / 4


def test_a_drawing_that_failed_is_tried_again(drawings):
    for _ in range(2):
        with pytest.raises(DrawingFailed):
            drawings.svg_of(FATAL, "anybody")
    assert not drawings._coming


async def test_the_chart_of_runs_that_are_over_is_asked_for_once_by_a_browser(http, rows):
    """Its address says what it shows, so that the answer may be kept."""
    traces = rows.ready_for_seed_series()
    row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    body = {"traces": traces, "patch_sets": [row["id"]], "plan": "series"}
    code = (await http.post("/api/v1/batches", json=body)).json()["code"]
    page = (await http.get(f"/batches/{code}")).text
    sources = re.findall(r'<img src="([^"]*)"', page)
    assert sources
    for source in sources:
        answer = await http.get(source.replace("&amp;", "&"))
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert sources == re.findall(r'<img src="([^"]*)"', (await http.get(f"/batches/{code}")).text)
    unnamed = await http.get(f"/api/v1/comparisons/{code}.svg")
    assert "no-cache" in unnamed.headers["cache-control"]
