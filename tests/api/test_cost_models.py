"""The cost model beside a comparison: by the query, on the page, and never without being asked."""

import pytest

from tests.api.test_batch_life import seed_batch

pytestmark = pytest.mark.anyio


async def test_the_query_adds_a_model_and_weighs_by_it_and_changes_no_count(http, rows):
    code = (await seed_batch(http, rows))["code"]
    plain = (await http.get(f"/api/v1/comparisons/{code}")).json()
    query = {"costs": "exit:1800,vcpus:4"}
    told = (await http.get(f"/api/v1/comparisons/{code}", params=query)).json()
    models = [each.pop("cost_model") for each in told["comparisons"]]
    assert [each["counters"] for each in told["comparisons"]] == [
        each["counters"] for each in plain["comparisons"]
    ]
    assert [each["weights"] for each in told["comparisons"]] == ["exit:1800,vcpus:4"] * 2
    default = (await http.get(f"/api/v1/comparisons/{code}", params={"costs": "default"})).json()
    for each in default["comparisons"]:
        each.pop("cost_model")
    assert default == plain
    assert all(model["is_model"] and model["vcpus"] == 4 for model in models)
    exits, *_ = models[0]["terms"]
    assert exits["weight"] == 1800
    assert exits["source"] == "given"
    assert exits["cycles"] == [1800 * count for count in exits["counts"]]


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("md", "Cost model, not a measurement"),
        ("txt", "a model, not a measurement"),
        ("csv", "modelled cycles,in all"),
    ],
)
async def test_the_other_forms_have_the_model_beside_the_counts(http, rows, form, told):
    code = (await seed_batch(http, rows))["code"]
    of_batch, across = f"/api/v1/comparisons/{code}.{form}", f"/api/v1/comparisons.{form}"
    for address, query in ((of_batch, {}), (across, {"column": [f"{code}:0", f"{code}:6"]})):
        plain = await http.get(address, params=query)
        modelled = await http.get(address, params={**query, "costs": "exit:1800"})
        assert (plain.status_code, modelled.status_code) == (200, 200)
        assert told not in plain.text
        assert told in modelled.text


async def test_wrong_weights_are_refused_by_name(http, rows):
    code = (await seed_batch(http, rows))["code"]
    answer = await http.get(f"/api/v1/comparisons/{code}.json", params={"costs": "exitt:1"})
    assert answer.status_code == 422
    assert "no weight 'exitt'" in answer.json()["detail"]


async def test_the_page_shows_the_model_as_one_and_keeps_the_weights(http, rows):
    code = (await seed_batch(http, rows))["code"]
    plain = (await http.get(f"/batches/{code}")).text
    assert "not a measurement" not in plain
    assert 'name="costs" value="default"' in plain
    page = (await http.get(f"/batches/{code}", params={"costs": "exit:1800"})).text
    assert f'href="/api/v1/comparisons/{code}.md?costs=exit:1800"' in page
    assert "Cost model, not a measurement" in page
    assert 'name="costs" value="exit:1800"' in page
    assert (await http.get(f"/batches/{code}", params={"costs": "x"})).status_code == 422
