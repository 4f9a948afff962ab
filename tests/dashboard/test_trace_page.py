"""The page of a trace: what it tells, its batches, changed and deleted on it."""

import hashlib

import pytest

from refault.trace import EventKind
from tests.builders import digest_of
from tests.dashboard.test_doors import form_key, log_in
from tests.dashboard.test_pages import HOSTILE, Page, keeps_to_the_policy, submit
from tests.fixtures.api import block, in_process, trace_bytes

pytestmark = pytest.mark.anyio


@pytest.fixture
def annas_role():
    return "maintainer"


@pytest.fixture
async def uploaded(http):
    """The digest of a trace that was really uploaded: accesses, then a mark."""
    content = trace_bytes(
        blocks=[block(EventKind.ACCESS, 900), block(EventKind.MARK, 1)],
        workload_marks={"4096": "the build begins"},
        capture_filter={"keeps": "first accesses", "loses": "further accesses"},
    )
    answer = await http.post("/api/v1/traces?tag=boot&note=two+words", content=content)
    assert answer.status_code == 201, answer.text
    return hashlib.sha256(content).hexdigest()


async def test_it_tells_what_the_trace_consists_of_over_time(anna, uploaded):
    answer = await anna.get(f"/traces/{uploaded}?uploaded=new")
    page = Page(answer)

    assert keeps_to_the_policy(answer)
    assert "Uploaded, and every block of it checked." in page.text
    assert "ACCESS 900 99.9 %" in page.text
    drawings = [tag for tag in page.all("svg") if tag.get("class") == "spark"]
    assert [tag["aria-label"].partition(" ")[0] for tag in drawings] == ["ACCESS", "MARK"]
    # Of 900 events at even distances, each of 50 slices has some; the mark is in the last.
    makeup = (await anna.get(f"/api/v1/traces/{uploaded}")).json()["statistics"]["makeup"]
    assert sum(makeup["kinds"]["ACCESS"]) == 900
    assert makeup["kinds"]["MARK"][-1] == 1
    assert makeup["unit"] == "instructions"
    assert "Mark 4096 the build begins, once" in page.text
    assert "0 distinct roots in CR3" in page.text
    assert "Kept first accesses Lost further accesses" in page.text
    listed = (await anna.get("/api/v1/traces")).json()["items"]
    assert listed[0]["statistics"]["makeup"] is None, "lists stay small"


async def test_it_has_tags_note_download_and_a_way_to_submit(anna, uploaded):
    page = Page(await anna.get(f"/traces/{uploaded}"))

    links = {tag["href"] for tag in page.all("a")}
    assert "/traces?tag=boot" in links
    assert "two words" in page.text
    assert f"/batches/new?trace={uploaded}" in links
    assert (await anna.get(f"/api/v1/blobs/{uploaded}")).status_code == 200
    assert "No batch has used it yet." in page.text


async def test_a_trace_of_an_earlier_release_says_what_is_not_known(anna, rows):
    page = Page(await anna.get(f"/traces/{rows.add_trace('old')}"))

    assert "Its course over the guest’s time is not known" in page.text
    assert [tag for tag in page.all("svg") if tag.get("class") == "spark"] == []


async def test_it_lists_its_batches_with_their_verdicts(anna, http, rows):
    code = await submit(http, rows.ready_for_seed_series())

    page = Page(await anna.get(f"/traces/{digest_of('linux61-boot-1cpu')}"))

    assert f"/batches/{code}" in {tag["href"] for tag in page.all("a")}
    assert "Guest sees a change" in page.text


async def test_name_tags_and_note_are_changed_in_place(anna, uploaded):
    place = f"/traces/{uploaded}"
    data = {
        "form_key": form_key(await anna.get(place)), "name": "renamed",
        "tags": "one two", "note": "a\r\nb",
    }  # fmt: skip

    assert (await anna.post(f"{place}/edit", data=data)).headers["location"] == place
    trace = (await anna.get(f"/api/v1{place}")).json()
    assert (trace["name"], trace["tags"], trace["note"]) == ("renamed", ["one", "two"], "a\nb")

    refused = await anna.post(f"{place}/edit", data=data | {"tags": "!", "name": "kept"})
    assert refused.status_code == 422
    assert 'value="kept"' in refused.text
    assert Page(refused).all("details")[0].get("open", "") is None
    assert (await anna.post(f"{place}/edit", data=data | {"form_key": "0" * 64})).status_code == 403


async def test_a_deletion_says_first_what_goes_with_it(anna, http, rows):
    code = await submit(http, rows.ready_for_seed_series())
    place = f"/traces/{digest_of('linux61-boot-1cpu')}"

    asked = await anna.get(f"{place}/delete")

    page = Page(asked)
    assert "Delete linux61-boot-1cpu?" in page.text
    assert "5 runs" in page.text
    assert code in page.text
    assert keeps_to_the_policy(asked)
    data = {"form_key": form_key(asked)}
    kept = await anna.post(f"{place}/delete", data=data)
    assert kept.status_code == 409
    assert (await anna.get(place)).status_code == 200
    gone = await anna.post(f"{place}/delete", data=data | {"cascade": "yes"})
    assert (gone.status_code, gone.headers["location"]) == (303, "/traces")
    assert (await anna.get(place)).status_code == 404


async def test_a_viewer_changes_and_deletes_nothing(site, rows, uploaded):
    rows.add_user("carl", "viewer")
    async with in_process(site) as carl:
        carl.headers["origin"] = "http://refault.test"
        await log_in(carl, name="carl")
        page = await carl.get(f"/traces/{uploaded}")
        assert f"/traces/{uploaded}/delete" not in page.text
        data = {"form_key": form_key(page), "name": "x", "tags": "", "note": ""}
        for action in ("edit", "delete"):
            answer = await carl.post(f"/traces/{uploaded}/{action}", data=data)
            assert answer.status_code == 403


async def test_hostile_words_stay_text(anna, rows):
    digest = rows.add_trace(HOSTILE, note=HOSTILE, header={"capture_filter": {"loses": HOSTILE}})
    for place in (f"/traces/{digest}", f"/traces/{digest}/delete"):
        assert "<script>alert" not in (await anna.get(place)).text


async def test_another_project_does_not_see_it(site, rows, uploaded):
    other = rows.add_project("other")
    rows.add_user("berta", "maintainer", other)
    async with in_process(site) as berta:
        berta.headers["origin"] = "http://refault.test"
        await log_in(berta, name="berta")
        for place in ("", "/delete"):
            assert (await berta.get(f"/traces/{uploaded}{place}")).status_code == 404


async def test_the_working_set_is_drawn_told_in_numbers_and_is_data(anna, rows):
    told = {
        "unit": "instructions",
        "width": 1024,
        "slices": 3,
        "frames": [2048, 0, 512],
        "touched": 2100,
        "memory": 65_536,
    }
    makeup = {"unit": "instructions", "width": 1024, "slices": 3, "kinds": {"ACCESS": [9, 0, 3]}}
    digest = rows.add_trace("boot", statistics={"working_set": told, "makeup": makeup})

    answer = await anna.get(f"/traces/{digest}")
    page = Page(answer)

    assert keeps_to_the_policy(answer)
    assert "At most 2,048 frames of 4 KiB (8.0 MiB) in one slice" in page.text
    assert "2,100 (8.2 MiB) of the 65,536 that the guest has (256.0 MiB)" in page.text
    assert "Distinct frames by slice, at most 2,048" in answer.text
    links = [tag["href"] for tag in page.all("a")]
    base = f"/api/v1/traces/{digest}/course"
    assert {f"{base}.csv", f"{base}.json"} <= set(links)
    rows_of = (await anna.get(f"{base}.csv")).text.splitlines()
    assert rows_of == [
        "from,unit,ACCESS,working_set_frames",
        "0,instructions,9,2048",
        "1024,instructions,0,0",
        "2048,instructions,3,512",
    ]
    assert (await anna.get(f"{base}.json")).json()["working_set"] == told
    assert (await anna.get(f"{base}.svg")).status_code == 404
    listed = (await anna.get("/api/v1/traces")).json()["items"]
    assert listed[0]["statistics"]["working_set"] is None, "lists stay small"


async def test_where_it_was_not_counted_a_worker_is_asked_for_it(anna, rows):
    digest = rows.add_trace("boot", statistics={"verification": None})
    answer = await anna.get(f"/traces/{digest}")
    assert "Not counted" in Page(answer).text
    asked = {"form_key": form_key(answer), "kind": "verification", "trace": digest}
    assert (await anna.post("/questions", data=asked)).status_code == 303
    assert (
        "A worker counts it with the verification" in Page(await anna.get(f"/traces/{digest}")).text
    )
