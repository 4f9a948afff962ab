"""The matrix of a large batch: few elements a cell, and only what changed when a run ends."""

import re

import pytest
import sqlalchemy as sa

from tests.builders import transaction

pytestmark = pytest.mark.anyio

COLUMNS, TRACES = 12, 6


@pytest.fixture
async def code(http, rows):
    """A batch that waits: six traces under twelve page limits."""
    rows.register_simulator()
    traces = [rows.add_trace(f"guest {number}") for number in range(TRACES)]
    row = (await http.post("/api/v1/patch_sets", json={"name": "one", "patches": []})).json()
    axes = {"page_limit": [4_000 + place for place in range(COLUMNS)]}
    body = {"traces": traces, "patch_sets": [row["id"]], "plan": "matrix", "axes": axes}
    return (await http.post("/api/v1/batches", json=body)).json()["code"]


def rows_of(text):
    """The rows of the matrix of verdicts: version and content."""
    return re.findall(r'<tr data-row="([0-9a-f]{6})">(.*?)</tr>', text, re.DOTALL)


def crash(rows, trace):
    """A run of a trace crashes, as far as its page can see."""
    with transaction(rows.engine) as session:
        session.execute(
            sa.text(
                "UPDATE runs SET state = 'failed', error = 'it broke' WHERE id IN (SELECT runs.id"
                " FROM runs JOIN traces ON traces.id = runs.trace_id WHERE traces.name = :name"
                " ORDER BY position LIMIT 1)"
            ),
            {"name": trace},
        )


async def test_a_cell_is_two_elements_and_says_its_verdict(anna, code):
    text = (await anna.get(f"/batches/{code}")).text
    found = rows_of(text)
    assert len(found) == TRACES
    for _, row in found:
        assert row.count("<td") == COLUMNS
        assert len(re.findall("<[a-z]", row)) == 2 + 2 * COLUMNS, "th, its link, and the cells"
        assert row.count('aria-label="No result') == COLUMNS
    scripts = re.findall(r'\son[a-z]+="', text)
    assert scripts == [], "no handler of its own"


async def test_only_the_row_that_changed_is_sent(anna, rows, code):
    before = rows_of((await anna.get(f"/batches/{code}")).text)
    known = ".".join(version for version, _ in before)
    address = f"/batches/{code}/parts"
    same = rows_of((await anna.get(address, params={"rows": known})).text)
    assert [version for version, _ in same] == [version for version, _ in before]
    assert {content for _, content in same} == {""}

    crash(rows, "guest 3")
    after = rows_of((await anna.get(address, params={"rows": known})).text)
    assert [place for place, (_, content) in enumerate(after) if content] == [3]
    assert after[3][0] != before[3][0]
    assert after[3][1].count("<td") == COLUMNS


@pytest.mark.parametrize("known", ["", "abcdef", "x.y.z.a.b.c", "." * 100])
async def test_a_page_that_knows_other_rows_gets_them_all(anna, code, known):
    found = rows_of((await anna.get(f"/batches/{code}/parts", params={"rows": known})).text)
    assert all(content for _, content in found)


async def test_too_many_rows_are_refused(anna, code):
    answer = await anna.get(f"/batches/{code}/parts", params={"rows": "abcdef." * 601})
    assert answer.status_code == 422
