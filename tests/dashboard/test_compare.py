"""The page /compare: columns of any batches, side by side."""

import pytest

from refault import catalogue
from tests.dashboard.test_pages import HOSTILE, Page, keeps_to_the_policy, submit
from tests.fixtures.api import bearer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def codes(http, rows):
    digests = rows.ready_for_seed_series()
    whole = {"name": "alone", "patches": list(catalogue.SEED_SERIES)}
    return await submit(http, digests), await submit(http, digests[1:], whole, "each")


async def test_columns_of_two_batches_are_compared_with_means_and_links_to_take_them_away(
    http, codes
):
    series, alone = codes
    address = f"/compare?column={series}:0&column={series}:3&column={alone}:0"

    answer = await http.get(address)

    page = Page(answer)
    links = {a["href"] for a in page.all("a")}
    assert keeps_to_the_policy(answer)
    assert f"1-3 ({series}) changes what the guest sees on linux61-boot-1cpu" in page.text
    assert f"only in {series}" in page.text
    assert f"?column={series}:0&column={series}:3" in links
    assert f"?column={series}:0&column={series}:3&column={alone}:0&base=2" in links
    for form in ("txt", "md", "csv", "json", "svg"):
        (link,) = [link for link in links if link.startswith(f"/api/v1/comparisons.{form}")]
        assert (await http.get(link)).status_code == 200


async def test_the_mean_over_all_traces_names_best_and_worst(http, codes):
    text = Page(await http.get(f"/compare?column={codes[0]}:0&column={codes[0]}:6")).text

    assert "1-6 × 1.101 2 linux61-workload-1cpu × 1.020 linux61-boot-1cpu × 1.189" in text


async def test_a_batch_leads_here_with_its_chosen_columns(http, codes):
    series, _ = codes
    form = Page(await http.get(f"/batches/{series}"))

    answer = await http.get(f"/compare?from={series}&base=2&columns=0&columns=6")

    assert series in {button.get("value") for button in form.all("button")}
    assert answer.status_code == 303
    assert answer.headers["location"] == (
        f"/compare?column={series}:2&column={series}:0&column={series}:6"
    )


async def test_an_empty_comparison_says_how_to_begin_and_lists_columns_to_add(http, codes):
    series, alone = codes

    page = Page(await http.get(f"/compare?browse={series}"))

    assert {tag["value"] for tag in page.all("option")} == {series, alone}
    assert [tag["value"] for tag in page.all("input") if tag.get("name") == "column"] == [
        f"{series}:{index}" for index in range(7)
    ]


@pytest.mark.parametrize("words", ["x", "b-none:0"])
async def test_a_column_that_is_not_there_is_a_page_that_says_so(http, codes, words):
    answer = await http.get(f"/compare?column={words}")

    assert answer.status_code in {404, 422}
    assert words.partition(":")[0] in Page(answer).text


async def test_hostile_names_stay_text(http, rows):
    rows.register_simulator()
    digest = rows.add_trace(HOSTILE)
    code = await submit(http, [digest], {"name": HOSTILE, "patches": []}, "each")

    answer = await http.get(f"/compare?column={code}:0&browse={code}")

    assert "<script>alert" not in answer.text
    assert not [a for _, a in Page(answer).tags if any(name.startswith("on") for name in a)]


async def test_another_project_sees_none_of_it(http, rows, codes):
    stranger = bearer(rows.mint_token(project=rows.add_project("others")))

    one = await http.get(f"/compare?column={codes[0]}:0", headers=stranger)
    none = await http.get("/compare", headers=stranger)

    assert one.status_code == 404
    assert codes[0] not in none.text
