"""Choosing, pinning, ordering and hiding columns and rows of a batch's page, by its address."""

import re

import pytest

from tests.dashboard.test_pages import Page, submit

pytestmark = pytest.mark.anyio


@pytest.fixture
async def code(http, rows):
    return await submit(http, rows.ready_for_seed_series())


def heads_of(page, number=1):
    """The indexes of the columns of a trace's table, in order."""
    ids = [tag["id"] for tag in page.all("th") if "id" in tag]
    found = [re.fullmatch(rf"trace-{number}-c([0-9]+)", each) for each in ids]
    return [int(match[1]) for match in found if match]


def heat_of(answer):
    """The matrix: sign, word and number of each cell, row by row."""
    body = answer.text.partition('class="matrix')[2].partition("</table>")[0]
    rows = body.partition("<tbody>")[2].split("<tr ")[1:]
    cell = re.compile(r"<td class=\"heat ([^\"]*)\"><a href=\"([^\"]*)\">(.)<span>([^<]*)</span>"
                      r"(?:<b>([^<]*)</b>)?</a></td>")  # fmt: skip
    return [cell.findall(row) for row in rows]


async def test_the_matrix_gives_each_cell_its_verdict_and_one_number(http, code):
    workload, boot = heat_of(await http.get(f"/batches/{code}"))

    assert [(sign, word, number) for _, _, sign, word, number in boot] == [
        ("○", "Base", "96,185"),
        ("=", "Identical", "0%"),
        ("✕", "Guest sees a change", "64"),
        ("✕", "Guest sees a change", "64"),
        ("▲", "Mixed, worse on balance", "+18.9%"),
    ]
    assert boot[4][0] == "more more-2"
    assert workload[4][4] == "+2.0%"


async def test_a_cell_leads_to_its_column_below(http, code):
    answer = await http.get(f"/batches/{code}")

    page = Page(answer)
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [href for row in heat_of(answer) for _, href, *_ in row]
    assert len(links) == 10
    assert {href.removeprefix("#") for href in links} <= ids


async def test_the_chosen_columns_alone_are_shown_and_the_verdict_stays_that_of_all(http, code):
    whole = Page(await http.get(f"/batches/{code}"))
    answer = await http.get(f"/batches/{code}?columns=2&columns=6")
    page = Page(answer)

    assert heads_of(whole) == [0, 2, 3, 4, 6]
    assert heads_of(page) == [0, 2, 6]
    assert [len(row) for row in heat_of(answer)] == [3, 3]
    assert "changes what the guest sees" in page.text
    assert "4 of 7 columns are shown; hidden: 1-3, 1-4, 1-5 . Show all" in page.text
    # The other forms compare the same columns.
    assert f"/api/v1/comparisons/{code}.txt?columns=2,6" in {a["href"] for a in page.all("a")}


async def test_pinned_columns_stand_beside_the_base(http, code):
    page = Page(await http.get(f"/batches/{code}?pin=6"))

    assert heads_of(page) == [0, 6, 2, 3, 4]
    cells = [tag.get("class", "").split() for tag in page.all("td")]
    assert sum("pin-1" in names for names in cells) > 10


async def test_columns_can_be_ordered_by_their_worst_verdict_their_exits_or_their_name(http, code):
    orders = {
        sort: heads_of(Page(await http.get(f"/batches/{code}?sort={sort}")))
        for sort in ("worst", "exits", "name")
    }

    assert orders == {
        "worst": [0, 3, 4, 6, 2],
        # Where the guest sees a change, exits mean nothing.
        "exits": [0, 2, 6, 3, 4],
        "name": [0, 2, 3, 4, 6],
    }


async def test_the_drawing_has_the_columns_in_the_order_of_the_table(http, code):
    page = Page(await http.get(f"/batches/{code}?sort=worst"))

    (source, *_) = [tag["src"] for tag in page.all("img")]
    assert "columns=3,4,6,2" in source
    assert (await http.get(source)).status_code == 200


async def test_rows_that_move_less_than_the_threshold_are_named_and_left_out(http, code):
    page = Page(await http.get(f"/batches/{code}?over=10&columns=6&trace="))
    rows_shown = re.findall(r"<th scope=\"row\"><a [^>]*>(\w+)</a></th>", (
        await http.get(f"/batches/{code}?over=10&columns=6")).text)  # fmt: skip

    assert "exits" in rows_shown
    assert "hw_flush" not in rows_shown
    assert "Not shown, as no column moves them by 10 %" in page.text
    assert next(tag for tag in page.all("input") if tag.get("name") == "over")["value"] == "10"


async def test_every_counter_can_be_shown(http, code):
    page = Page(await http.get(f"/batches/{code}?every=1"))

    assert "counters that no column changes" not in page.text.replace(
        "also counters that no column changes", ""
    )


async def test_the_form_of_the_columns_holds_the_state_of_the_address(http, code):
    page = Page(await http.get(f"/batches/{code}?base=2&columns=6,3&pin=3&sort=worst&over=0.5"))

    inputs = page.all("input")
    checked = {
        name: [tag["value"] for tag in inputs if tag.get("name") == name and "checked" in tag]
        for name in ("base", "columns", "pin")
    }
    # The base and what it is equal to are shown as well.
    assert checked == {"base": ["2"], "columns": ["2", "3", "6"], "pin": ["3"]}
    assert [tag["value"] for tag in page.all("option") if "selected" in tag] == ["worst", "90"][:1]
    assert heads_of(page) == [2, 3, 6]


async def test_another_base_is_a_link_in_the_head_of_each_column(http, code):
    page = Page(await http.get(f"/batches/{code}?columns=2,6"))

    assert "?base=6&columns=2,6" in {a["href"] for a in page.all("a")}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("columns=x", "columns must be indexes of columns from 0"),
        ("columns=99", "column 99 does not exist"),
        ("pin=1,2,3", "at most 2 columns"),
        ("sort=colour", "sort must be one of worst, exits, name"),
        ("over=-5", "over must be a percentage"),
    ],
)
async def test_an_arrangement_that_cannot_be_read_is_a_page_that_says_so(http, code, query, words):
    answer = await http.get(f"/batches/{code}?{query}")

    assert answer.status_code == 422
    assert words in Page(answer).text
