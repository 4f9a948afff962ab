import pytest

from refault import catalogue

pytestmark = pytest.mark.anyio

PATCH_SETS = "/api/v1/patch_sets"


async def test_the_catalogue_is_listed_whole_and_in_order(http):
    patches = (await http.get("/api/v1/patches")).json()["items"]
    bases = (await http.get("/api/v1/bases")).json()["items"]

    assert [patch["id"] for patch in patches] == [patch.id for patch in catalogue.patches()]
    assert [base["id"] for base in bases] == ["v2.6.34-pre", "kvm-2010-04", "v2.6.35.6", "walk"]
    for field in ("title", "author", "date", "claim", "fate", "source"):
        assert all(patch[field] for patch in patches), field


async def test_one_patch_is_found_by_id_and_saved_by_its_etag(http):
    first = await http.get("/api/v1/patches/cr4-posted")
    again = await http.get(
        "/api/v1/patches/cr4-posted", headers={"if-none-match": first.headers["etag"]}
    )

    assert first.json()["knobs"] == {"cr4_write": 1}
    assert again.status_code == 304


async def test_a_patch_that_is_not_there_is_a_404_that_names_the_nearest(http):
    answer = await http.get("/api/v1/patches/cr4-postd")

    assert answer.status_code == 404
    assert "did you mean cr4-posted?" in answer.json()["detail"]


async def test_a_patch_set_resolves_to_a_variant(http, rows):
    answer = await http.post(
        PATCH_SETS,
        json={
            "name": "cr4 at a small limit",
            "patches": ["zap-account", "cr4-posted"],
            "parameters": {"page_limit": {"first": 400, "then": 64, "every": 32768}, "bypass": 1},
        },
    )

    assert answer.status_code == 201
    patch_set = answer.json()
    assert patch_set["base"] == "v2.6.34-pre"
    assert patch_set["variant"]["golden_name"] == "p4"
    assert patch_set["parameters"] == {
        "page_limit": {"first": 400, "then": 64, "every": 32768},
        "bypass": 1,
        "host_page_level": 1,
        "tlb": 0,
        "tdp": 0,
    }
    assert (await http.get(answer.headers["location"])).json() == patch_set
    assert (await http.get(PATCH_SETS)).json()["items"] == [patch_set]


async def test_the_same_patch_set_again_is_the_one_that_is_there(http, rows):
    body = {"name": "one", "patches": ["zap-account"]}
    first = await http.post(PATCH_SETS, json=body)
    second = await http.post(PATCH_SETS, json=body)

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()


async def test_a_patch_says_whether_the_real_kernel_ran_with_it_and_where_it_cannot_go(http):
    patches = {patch["id"]: patch for patch in (await http.get("/api/v1/patches")).json()["items"]}

    assert patches["zap-batch"]["golden_names"] == []
    assert patches["unsync-list-vm"]["golden_names"] == ["p6", "apr_p6"]
    assert patches["cr4-norole"]["merged_in"] == {"v2.6.35.6": "as 87bc3bf972a"}
    assert patches["sp-bool"]["layout"]["i386"] == {"sizeof": 120, "cachelines": 2}
    assert patches["zap-batch"]["layout"] is None


async def test_patches_no_real_kernel_ran_together_have_no_golden_name(http, rows):
    body = {"name": "1-4", "patches": ["zap-account", "parent-stop-bit", "cr4-posted"]}

    answer = await http.post(PATCH_SETS, json=body)

    assert answer.json()["variant"]["golden_name"] is None


REFUSED = {
    "a patch that does not exist": (
        {"patches": ["zap-account", "zap-acount"]},
        "unknown-patch",
        ["/patches/1"],
    ),
    "two forms of one patch": (
        {"patches": ["zap-account", "cr4-posted", "zap-restart"]},
        "contradicting-patches",
        ["/patches/0", "/patches/2"],
    ),
    "both forms of the cr4 patch": (
        {"patches": ["zap-account", "cr4-posted", "cr4-store-norole"]},
        "contradicting-patches",
        ["/patches/1", "/patches/2"],
    ),
    "one patch twice": (
        {"patches": ["zap-account", "zap-account"]},
        "contradicting-patches",
        ["/patches/0", "/patches/1"],
    ),
    "a patch without the one it sits on": (
        {"patches": ["unsync-walk-struct", "unsync-clear-exact"]},
        "missing-requirement",
        ["/patches/1"],
    ),
    "a patch the base has already": (
        {"base": "v2.6.35.6", "patches": ["parent-stop-bit", "zap-account"]},
        "invalid-patch-set",
        ["/patches/1"],
    ),
    "a base that does not exist": ({"base": "v9"}, "unknown-base", ["/base"]),
    "a limit of no pages": (
        {"parameters": {"page_limit": 0}},
        "invalid-patch-set",
        ["/parameters/page_limit"],
    ),
    "a schedule that never turns": (
        {"parameters": {"page_limit": {"first": 1, "then": 1, "every": 0}}},
        "invalid-patch-set",
        ["/parameters/page_limit/every"],
    ),
    "host pages of no size": (
        {"parameters": {"host_page_level": 4}},
        "invalid-patch-set",
        ["/parameters/host_page_level"],
    ),
    "a field that is not one": ({"patchs": []}, "invalid-request", ["/patchs"]),
    "no name": ({"name": ""}, "invalid-request", ["/name"]),
    "a name with a NUL": ({"name": "a\0"}, "invalid-request", ["/name"]),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_patch_set_that_makes_no_machine_is_refused_with_its_places(http, rows, name):
    body, kind, pointers = REFUSED[name]

    answer = await http.post(PATCH_SETS, json={"name": "bad", "patches": []} | body)

    problem = answer.json()
    assert answer.status_code == 422
    assert problem["type"] == f"/problems/{kind}"
    assert [error["pointer"] for error in problem["errors"]] == pointers
    assert (await http.get(PATCH_SETS)).json()["items"] == []


async def test_a_refused_contradiction_names_both_patches_and_the_knob(http, rows):
    body = {"name": "bad", "patches": ["zap-account", "cr4-posted", "cr4-store-norole"]}

    detail = (await http.post(PATCH_SETS, json=body)).json()["detail"]

    for word in ("cr4-posted", "cr4-store-norole", "cr4_write"):
        assert word in detail
