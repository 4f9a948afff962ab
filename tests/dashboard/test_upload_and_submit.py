"""A trace is uploaded and a batch submitted by plain forms."""

import hashlib

import pytest

from refault.client import AsyncClient
from refault.errors import Refused
from services.dashboard.submitting import CHOSEN_MAX
from tests.builders import digest_of
from tests.dashboard.test_doors import form_key, log_in
from tests.dashboard.test_multipart import TYPE, body_of
from tests.dashboard.test_pages import HOSTILE, Page, keeps_to_the_policy, submit
from tests.fixtures.api import in_process, trace_bytes

pytestmark = pytest.mark.anyio

UPLOAD = "/traces/new"
SUBMIT = "/batches/new"


async def upload(browser, content, filename="guest.rft", **fields):
    key = form_key(await browser.get(UPLOAD))
    data = {"form_key": key, "name": "", "tags": "", "note": ""} | fields
    return await browser.post(UPLOAD, data=data, files={"file": (filename, content)})


async def test_a_form_uploads_a_trace_with_name_tags_and_note(anna):
    content = trace_bytes(name="boot")

    answer = await upload(anna, content, name="mine", tags="boot small", note="one\r\ntwo")

    digest = hashlib.sha256(content).hexdigest()
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == f"/traces/{digest}?uploaded=new"
    trace = (await anna.get(f"/api/v1/traces/{digest}")).json()
    assert (trace["name"], trace["tags"], trace["note"]) == ("mine", ["boot", "small"], "one\ntwo")
    again = await upload(anna, content)
    assert again.headers["location"] == f"/traces/{digest}?uploaded=present"


async def test_a_damaged_trace_is_refused_with_its_place_and_leaves_nothing(anna, rows):
    content = bytearray(trace_bytes())
    content[len(content) // 2] ^= 1

    answer = await upload(anna, bytes(content), name="kept in the form")

    assert answer.status_code == 422
    alert = Page(answer).text
    assert "byte" in alert
    assert 'value="kept in the form"' in answer.text
    assert rows.nothing_is_left()


async def test_a_form_without_a_file_a_key_or_a_boundary_uploads_nothing(anna, stranger, rows):
    key = form_key(await anna.get(UPLOAD))
    none = await anna.post(
        UPLOAD,
        content=body_of([("form_key", None, key.encode()), ("file", "", b"")]),
        headers={"content-type": TYPE},
    )
    assert none.status_code == 422
    assert "no file was chosen" in none.text
    for key, origin in (("", "http://refault.test"), ("0" * 64, "http://refault.test")):
        refused = await anna.post(
            UPLOAD,
            data={"form_key": key},
            files={"file": ("t.rft", trace_bytes())},
            headers={"origin": origin},
        )
        assert refused.status_code == 403
    plain = await anna.post(UPLOAD, data={"form_key": "x"})
    assert plain.status_code == 422
    assert "multipart" in plain.text
    assert (await stranger.get(UPLOAD)).status_code == 303
    assert rows.nothing_is_left()


async def test_the_quota_of_the_project_holds_for_forms_too(site, rows):
    small = rows.add_project("small", quota_bytes=100)
    rows.add_user("berta", "contributor", small)
    async with in_process(site) as berta:
        berta.headers["origin"] = "http://refault.test"
        await log_in(berta, name="berta")
        answer = await upload(berta, trace_bytes())
        assert answer.status_code == 507
        assert "100" in Page(answer).text.partition("Upload a trace")[2]


async def test_a_viewer_gets_no_form(site, rows):
    rows.add_user("carl", "viewer")
    async with in_process(site) as carl:
        carl.headers["origin"] = "http://refault.test"
        await log_in(carl, name="carl")
        for place in (UPLOAD, SUBMIT):
            page = Page(await carl.get(place))
            assert "a maintainer gives the role contributor" in page.text
            assert [tag for tag in page.all("input") if tag.get("type") == "file"] == []


async def fields_for(browser, **more):
    return {"form_key": form_key(await browser.get(SUBMIT))} | more


async def test_a_batch_is_estimated_and_then_submitted(anna, rows):
    digests = rows.ready_for_seed_series()
    data = await fields_for(anna, trace=digests, patches="series", name="April", plan="series")

    estimated = await anna.post(SUBMIT, data=data | {"action": "estimate"})

    assert estimated.status_code == 200, estimated.text
    page = Page(estimated)
    assert "Dry run: 10 cells, 10 known already, 0 to run" in page.text
    assert "Nothing has to be computed." in page.text
    [made] = (await anna.get("/api/v1/patch_sets")).json()["items"]
    assert (made["name"], len(made["patches"])) == ("April", 6)
    traces = " ".join(digest[:12] for digest in digests)
    assert f"refault submit {traces} --set {made['id']} --plan series --wait" in page.text
    assert (await anna.get("/api/v1/batches")).json()["items"] == []

    hidden = [tag for tag in page.all("input") if tag.get("type") == "hidden"][1:]
    values = {}
    for tag in hidden[: len(digests) + 4]:
        values.setdefault(tag["name"], []).append(tag["value"])
    done = await anna.post(SUBMIT, data=values | {"action": "submit"})

    assert done.status_code == 303, done.text
    [batch] = (await anna.get("/api/v1/batches")).json()["items"]
    assert done.headers["location"] == f"/batches/{batch['code']}"
    assert batch["submitted_by"] == "user anna"
    assert batch["plan"] == "series"


async def test_a_matrix_is_estimated_and_submitted_with_what_it_varies(anna, http, rows):
    rows.register_simulator()
    digest = rows.add_trace("boot")
    page = await anna.get(SUBMIT)
    data = {
        "form_key": form_key(page),
        "trace": digest,
        "patches": "p1",
        "plan": "matrix",
        "axis-page-limit": "none, 64",
        "axis-tlb": "0 1",
        "axis-bypass": "",
    }

    estimate = await anna.post(SUBMIT, data=data | {"action": "estimate"})

    shown = Page(estimate)
    assert estimate.status_code == 200, shown.text
    assert "1 trace × 4 columns" in shown.text
    assert "--plan matrix --axis page-limit=none,64 --axis tlb=0,1" in shown.text
    hidden = {
        tag["name"]: tag["value"] for tag in shown.all("input") if tag.get("type") == "hidden"
    }
    assert (hidden["axis-page-limit"], hidden["axis-tlb"]) == ("none,64", "0,1")
    [link] = [tag["href"] for tag in shown.all("a") if tag["href"].startswith(f"{SUBMIT}?")]
    again = Page(await anna.get(link))
    given = {tag["name"]: tag.get("value") for tag in again.all("input") if "name" in tag}
    assert given["axis-page-limit"] == "none,64"

    done = await anna.post(SUBMIT, data=hidden | {"trace": digest, "action": "submit"})

    assert done.status_code == 303, Page(done).text
    code = done.headers["location"].rpartition("/")[2]
    batch = (await http.get(f"/api/v1/batches/{code}")).json()
    assert batch["plan"] == "matrix"
    assert len(batch["columns"]) == 4


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({}, "a matrix varies something"),
        ({"axis-tlb": "few"}, "tlb: expected numbers or none"),
        ({"axis-base": "v9.9"}, "v9.9"),
    ],
)
async def test_a_matrix_without_sense_is_said_in_the_form(anna, rows, axes, words):
    rows.register_simulator()
    data = {"trace": rows.add_trace("boot"), "patches": "p1", "plan": "matrix", **axes}
    key = form_key(await anna.get(SUBMIT))

    answer = await anna.post(SUBMIT, data=data | {"form_key": key, "action": "estimate"})

    assert answer.status_code == 422
    assert words in Page(answer).text


async def test_the_form_is_filled_in_by_its_address(anna, http, rows):
    rows.register_simulator()
    digest = rows.add_trace("boot")
    body = {"name": "two", "patches": []}
    one = (await http.post("/api/v1/patch_sets", json=body)).json()["id"]

    answer = await anna.get(f"{SUBMIT}?trace={digest}&patch_set={one}&plan=ablation&audit=flush")

    chosen = [tag["value"] for tag in Page(answer).all("input") if "checked" in tag]
    assert chosen == [digest, one, "ablation"]
    assert "flush" in [tag["value"] for tag in Page(answer).all("option") if "selected" in tag]
    assert keeps_to_the_policy(answer)


async def test_what_is_chosen_and_not_there_is_named(anna, rows):
    rows.register_simulator()
    gone = digest_of("gone")
    answer = await anna.get(f"{SUBMIT}?trace={gone}&trace={rows.add_trace('boot')}&patch_set=no")

    page = Page(answer)
    assert answer.status_code == 200
    assert f"There is no trace {gone}." in page.text
    assert "There is no patch set no." in page.text
    assert (
        len([tag for tag in page.all("input") if "checked" in tag and tag["name"] == "trace"]) == 1
    )


async def test_no_address_makes_a_page_ask_for_thousands(anna, rows):
    rows.register_simulator()
    for name in ("trace", "patch_set"):
        many = [(name, f"{number:064x}") for number in range(CHOSEN_MAX + 1)]
        asked = await anna.get(SUBMIT, params=many)
        assert asked.status_code == 422
        assert f"{name}: more than {CHOSEN_MAX}" in asked.text
        few = await anna.get(SUBMIT, params=many[:-1])
        assert few.status_code == 200


async def test_a_trace_that_cannot_be_asked_for_is_not_left_out(anna, rows, site, monkeypatch):
    """Only what is not there may be missing: any other refusal is the page's."""
    digest = digest_of("not listed")

    async def refuses(_client, _name):
        raise Refused("busy", status=503, problem={"title": "Busy"})

    monkeypatch.setattr(AsyncClient, "get_trace", refuses)
    assert (await anna.get(f"{SUBMIT}?trace={digest}")).status_code == 503


async def test_a_note_is_taken_with_a_plain_form_or_refused_with_a_reason(anna, rows):
    """The plain form sends it in an address, which has a longest length."""
    refused = await upload(anna, trace_bytes(), note="\N{BUG}" * 10_000)
    assert refused.status_code == 422, refused.text[:500]
    assert "shorten the note" in refused.text
    assert rows.nothing_is_left()

    answer = await upload(anna, trace_bytes(), note="\u4e2d" * 5_000)
    assert answer.status_code == 303, answer.text[:500]
    digest = answer.headers["location"].removeprefix("/traces/").partition("?")[0]
    trace = (await anna.get(f"/api/v1/traces/{digest}")).json()
    assert trace["note"] == "\u4e2d" * 5_000


async def test_what_is_chosen_stays_while_one_searches(anna, rows):
    digest = rows.add_trace("boot")
    rows.add_trace("other-guest")
    data = await fields_for(anna, trace=digest, find="other", plan="each", action="find")

    page = Page(await anna.post(SUBMIT, data=data))

    boxes = {tag["value"]: "checked" in tag for tag in page.all("input") if tag["name"] == "trace"}
    assert boxes == {digest: True, digest_of("other-guest"): False}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trace": ""}, "name at least one trace"),
        ({"patches": ""}, "name at least one patch set"),
        ({"patches": "p1 nonsense"}, "'nonsense' is not in the catalogue"),
        ({"plan": "every"}, "plan: 'every' is none of"),
        ({"trace": "0" * 64}, "no trace"),
    ],
)
async def test_a_wrong_choice_is_said_in_the_form(anna, rows, change, words):
    rows.register_simulator()
    data = await fields_for(anna, trace=rows.add_trace("boot"), patches="p1", plan="each")

    for action in ("estimate", "submit"):
        answer = await anna.post(SUBMIT, data=data | change | {"action": action})
        assert answer.status_code in {404, 422}
        assert words in Page(answer).text
    assert (await anna.get("/api/v1/batches")).json()["items"] == []


async def test_no_batch_without_the_form_key(anna, rows):
    rows.register_simulator()
    data = {"trace": rows.add_trace("boot"), "patches": "p1", "plan": "each", "action": "submit"}

    assert (await anna.post(SUBMIT, data=data)).status_code == 403
    assert (await anna.get("/api/v1/batches")).json()["items"] == []


async def test_hostile_names_stay_text_in_the_form(anna, rows):
    rows.add_trace(HOSTILE, tags=["a"])
    answer = await anna.get(f"{SUBMIT}?find=evil&name=%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script>alert" not in answer.text


async def test_another_projects_traces_and_sets_are_no_choice(site, http, rows):
    await submit(http, rows.ready_for_seed_series())
    other = rows.add_project("other")
    rows.add_user("berta", "contributor", other)
    async with in_process(site) as berta:
        berta.headers["origin"] = "http://refault.test"
        await log_in(berta, name="berta")
        answer = await berta.get(f"{SUBMIT}?trace={digest_of('linux61-boot-1cpu')}")
        assert "linux61" not in answer.text
        assert "Series of 12 April" not in answer.text
