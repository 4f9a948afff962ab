"""The plan of a batch, drawn as what it is."""

import re

import pytest

from tests.dashboard.test_pages import Page, keeps_to_the_policy, submit
from tests.fixtures.api import SERIES

pytestmark = pytest.mark.anyio


def plan_of(answer):
    return answer.text.partition('data-part="plan"')[2].partition("</section>")[0]


async def test_a_series_is_a_waterfall_whose_steps_multiply_to_its_end(http, rows):
    code = await submit(http, rows.ready_for_seed_series())

    answer = await http.get(f"/batches/{code}")

    plan = plan_of(answer)
    steps = re.findall(
        r'<td class="number">× ([0-9.]+)</td><td class="number">× ([0-9.]+)</td>', plan
    )
    # Over the one trace on which no patch misbehaves: on the other, exits mean nothing.
    assert steps == [("1.000", "1.000")] * 5 + [("1.020", "1.020")]
    assert "linux61-workload-1cpu (without an alarm under any column)" in plan
    assert plan.count("<rect ") == 6
    assert "/patches/parent-stop-bit" in plan
    assert keeps_to_the_policy(answer)


async def test_an_ablation_is_a_bar_for_each_patch_left_out(http, rows):
    rows.register_simulator()
    code = await submit(http, [rows.add_trace("boot")], plan="ablation")

    page = Page(await http.get(f"/batches/{code}"))

    assert "What leaving out each patch does" in page.text
    assert f"without {SERIES['patches'][2]}" in page.text


async def test_a_matrix_is_a_grid_whose_heads_name_what_differs(http, rows):
    rows.register_simulator()
    row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    batch = {
        "traces": [rows.add_trace("boot")],
        "patch_sets": [row["id"]],
        "plan": "matrix",
        "axes": {"page_limit": [64, 256, 1024], "tlb": [0, 1]},
    }
    code = (await http.post("/api/v1/batches", json=batch)).json()["code"]

    plan = plan_of(await http.get(f"/batches/{code}"))

    heads = re.findall(r'<th scope="(?:col|row)">(.*?)</th>', plan)
    assert heads == [
        "page limit",
        '<span class="quiet">tlb</span> 0',
        '<span class="quiet">tlb</span> 1',
        "64",
        "256",
        "1024",
    ]
    assert plan.count("<td") == 6


async def test_against_another_base_nothing_is_drawn(http, rows):
    code = await submit(http, rows.ready_for_seed_series())

    assert plan_of(await http.get(f"/batches/{code}?base=3")) == ""
