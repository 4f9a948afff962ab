import pytest

from refault.catalogue import SEED_SERIES as SEED
from tests.api.test_batch_life import seed_batch
from tests.api.test_batches import BATCHES

pytestmark = pytest.mark.anyio

THRESHOLDS = "/api/v1/thresholds"


async def test_a_project_has_no_limits_of_its_own_at_first(http, rows):
    found = (await http.get(THRESHOLDS)).json()
    assert (found["limits"], found["default"]["permille"]) == ({}, 10)
    assert "exits" in found["counters"]


async def test_limits_are_replaced_as_a_whole(http, rows):
    first = {"limits": {"exits": {"permille": 50}, "synced": {"absolute": 3}}}
    assert (await http.put(THRESHOLDS, json=first)).json()["limits"] == {
        "exits": {"permille": 50, "absolute": None},
        "synced": {"permille": None, "absolute": 3},
    }
    await http.put(THRESHOLDS, json={"limits": {"synced": {"permille": 0}}})
    assert (await http.get(THRESHOLDS)).json()["limits"] == {
        "synced": {"permille": 0, "absolute": None}
    }


@pytest.mark.parametrize(
    ("limits", "pointer"),
    [
        ({"exits": {}}, "/limits/exits"),
        ({"exits": {"permille": 1, "absolute": 1}}, "/limits/exits"),
        ({"exits": {"permille": -1}}, "/limits/exits/permille"),
        ({"pf_fixed": {"permille": 1}}, "/limits/pf_fixed"),
        ({"a/b": {"permille": 1}}, "/limits/a~1b"),
    ],
)
async def test_a_limit_that_cannot_be_is_refused_with_its_place(http, rows, limits, pointer):
    answer = await http.put(THRESHOLDS, json={"limits": limits})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await http.get(THRESHOLDS)).json()["limits"] == {}


async def test_a_batch_ends_in_a_verdict_that_text_and_json_agree_on(http, rows):
    batch = await seed_batch(http, rows)
    # Patches 1 to 3 mislead the guest on the boot trace, as the real code does.
    verdict = batch["verdict"]
    assert (verdict["status"], verdict["exit_code"]) == ("guest-visible-change", 1)
    assert verdict["reasons"][0]["trace_name"] == "linux61-boot-1cpu"
    document = (await http.get(f"/api/v1/comparisons/{batch['code']}")).json()
    assert document["verdict"] == verdict
    text = (await http.get(f"/api/v1/comparisons/{batch['code']}.txt")).text
    assert "Verdict: GUEST-VISIBLE CHANGE (exit code 1)" in text
    assert max(map(len, text.splitlines())) <= 72


async def test_limits_decide_what_is_worse_of_a_batch_that_is_over(http, rows):
    digests = rows.ready_for_seed_series()
    made = await http.post("/api/v1/patch_sets", json={"name": "all", "patches": list(SEED)})
    bare = await http.post("/api/v1/patch_sets", json={"name": "bare", "patches": []})
    body = {"traces": digests[:1], "patch_sets": [bare.json()["id"], made.json()["id"]]}
    batch = (await http.post(BATCHES, json=body)).json()
    assert batch["verdict"]["status"] == "mixed-worse"
    texts = batch["verdict"]["reasons"][0]["text"]
    assert texts.startswith("exits +2.0%")

    costs = (await http.get(THRESHOLDS)).json()["counters"]
    await http.put(THRESHOLDS, json={"limits": {name: {"permille": 500} for name in costs}})

    now = (await http.get(f"{BATCHES}/{batch['code']}")).json()["verdict"]
    assert (now["status"], now["exit_code"]) == ("improvement", 0)
