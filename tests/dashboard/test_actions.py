"""What people do from a batch's page, and what the page says of the project's verdict."""

import re

import pytest
import sqlalchemy as sa

from db.models import Result
from tests.api.test_batch_life import fail_what_waits
from tests.builders import transaction
from tests.dashboard.test_doors import form_key, log_in
from tests.dashboard.test_pages import HOSTILE, Page, submit
from tests.fixtures.api import in_process, runs_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def annas_role():
    return "maintainer"


@pytest.fixture
async def code(http, rows):
    return await submit(http, rows.ready_for_seed_series())


@pytest.fixture
async def waiting(http, rows):
    rows.register_simulator()
    return await submit(http, [rows.add_trace("boot")])


def actions(answer):
    forms = Page(answer).all("form")
    # A form that only asks for another view of the page acts on nothing.
    return [tag["action"] for tag in forms if tag["method"] == "post"]


def links_made(answer):
    return [tag["value"] for tag in Page(answer).all("input") if tag.get("id") == "link"]


async def made(anna, code, **given):
    key = form_key(await anna.get(f"/batches/{code}"))
    return await anna.post(f"/batches/{code}/shares", data={"form_key": key} | given)


async def test_the_verdict_of_the_page_is_the_one_the_service_answers(http, code):
    text = Page(await http.get(f"/batches/{code}")).text
    verdict = (await http.get(f"/api/v1/batches/{code}")).json()["verdict"]

    assert verdict["status"] == "guest-visible-change"
    assert (
        f"Verdict of the project: ✕ Guest sees a change {verdict['reason_count']} cells, "
        "exit code 1: the answer is no" in text
    )
    assert "The 2 cells behind it" in text
    for reason in verdict["reasons"]:
        assert f"{reason['label']} on {reason['trace_name']} : {reason['text']}" in text


async def test_what_is_wrong_with_the_base_is_the_verdict_of_the_page_too(http, rows):
    rows.ready_for_seed_series()
    traces = [(await http.get("/api/v1/traces")).json()["items"][0]["digest"]]
    whole = {"name": "whole", "patches": ["unsync-walk-struct", "zap-account"]}
    code = await submit(http, traces, whole)
    before = Page(await http.get(f"/batches/{code}")).text
    assert "exit code 0: nothing is worse than this project allows" in before
    assert "exit code 5" not in before

    with transaction(rows.engine) as session:
        session.execute(sa.update(Result).values(integrity_alarm={"other_digest": "b" * 64}))
    after = Page(await http.get(f"/batches/{code}")).text

    # What is wrong with the base makes the verdict too, and the sentence says so.
    assert "cannot be trusted" in after.partition("Verdict of the project")[0]
    assert "Integrity alarm" in after


async def test_a_comparison_against_another_base_is_not_called_the_projects_verdict(http, code):
    text = Page(await http.get(f"/batches/{code}?base=3")).text

    assert "Verdict against this base:" in text
    assert "Verdict of the project" not in text


async def test_a_link_is_made_shown_once_listed_and_revoked(anna, site, code):
    answer = await made(anna, code, lifetime_days="7")

    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    [link] = links_made(answer)
    assert link.startswith("http://refault.test/s/rfs_")
    path = link.removeprefix("http://refault.test")
    async with in_process(site) as stranger:
        shown = await stranger.get(path)
        assert shown.status_code == 200
        assert actions(shown) == []
        page = await anna.get(f"/batches/{code}")
        assert path not in page.text
        links = Page(page).text.partition("Valid links to this batch")[2]
        assert " anna " in links
        assert "user anna" not in links
        [revoke] = [each for each in actions(page) if each.endswith("/revoke")]

        ended = await anna.post(revoke, data={"form_key": form_key(page)})

        assert ended.headers["location"] == f"/batches/{code}#sharing"
        assert (await stranger.get(path)).status_code == 404
    after = await anna.get(f"/batches/{code}")
    assert not [each for each in actions(after) if each.endswith("/revoke")]


async def test_a_link_over_https_is_an_https_link(anna, code):
    key = form_key(await anna.get(f"/batches/{code}"))

    answer = await anna.post(
        f"/batches/{code}/shares",
        data={"form_key": key, "lifetime_days": ""},
        headers={"x-forwarded-proto": "https", "origin": "https://refault.test"},
    )

    assert links_made(answer)[0].startswith("https://refault.test/s/rfs_")
    assert "or until its maker leaves the project or it is revoked" in Page(answer).text


@pytest.mark.parametrize("days", ["0", "99999", "-1", "week", "\uff17"])
async def test_a_lifetime_that_is_none_makes_no_link(anna, http, code, days):

    assert (await made(anna, code, lifetime_days=days)).status_code == 422
    assert (await http.get(f"/api/v1/batches/{code}/shares")).json()["items"] == []


async def test_a_batch_is_cancelled_and_taken_up_again_from_its_page(anna, http, waiting):
    for action, state, button in (
        ("cancel", "cancelled", "Resume this batch"),
        ("resume", "queued", "Cancel this batch"),
    ):
        page = await anna.get(f"/batches/{waiting}")
        assert f"/batches/{waiting}/{action}" in actions(page)

        done = await anna.post(f"/batches/{waiting}/{action}", data={"form_key": form_key(page)})

        assert done.status_code == 303
        assert done.headers["location"] == f"/batches/{waiting}"
        assert (await http.get(f"/api/v1/batches/{waiting}")).json()["state"] == state
        assert button in Page(await anna.get(f"/batches/{waiting}")).text


async def test_what_failed_is_tried_again_from_the_page(anna, http, rows, waiting):
    with rows.engine.begin() as connection:
        for change in (
            "UPDATE runs SET state = 'failed', error = 'the blob is damaged', finished_at = now()",
            "UPDATE shards SET state = 'failed', finished_at = now()",
            "UPDATE batches SET state = 'failed', failed_count = run_count, finished_at = now()",
        ):
            connection.execute(sa.text(change))
    page = await anna.get(f"/batches/{waiting}")
    assert "Retry 5 failed runs" in Page(page).text

    await anna.post(f"/batches/{waiting}/retry", data={"form_key": form_key(page)})

    assert (await http.get(f"/api/v1/batches/{waiting}")).json()["state"] == "queued"


async def test_a_retry_is_offered_only_for_what_an_engine_can_replay(anna, http, rows):
    known = rows.ready_for_seed_series()
    old = rows.add_trace("old guest", guest_mode="long5")
    code = await submit(http, [*known, old])
    over = (await http.get(f"/api/v1/batches/{code}")).json()
    assert (over["state"], over["progress"]["failed"], over["retryable_count"]) == ("failed", 5, 0)

    page = await anna.get(f"/batches/{code}")

    assert "old guest" in Page(page).text
    assert not {f"/batches/{code}/{action}" for action in ("retry", "resume")} & set(actions(page))

    shown = Page(page)
    assert "no engine can replay it: to run it again cannot help" in shown.text
    assert "capture it again with `-cpu qemu64,la57=off`" in shown.text
    assert [tag for tag in shown.all("button") if tag.get("name") == "cell"] == []
    [run, *_] = [run for run in await runs_of(http, code) if run["state"] == "failed"]
    cell = Page(await anna.get(f"/runs/{run['id']}"))
    assert "No engine can replay this cell" in cell.text
    assert [tag for tag in cell.all("button") if tag.get("name") == "cell"] == []

    code = await submit(http, [rows.add_trace("boot"), old])
    await anna.post(f"/batches/{code}/cancel", data={"form_key": form_key(page)})
    page = await anna.get(f"/batches/{code}")
    assert f"/batches/{code}/resume" in actions(page)


async def test_an_action_whose_time_is_over_says_so(anna, code):
    key = form_key(await anna.get(f"/batches/{code}"))

    answer = await anna.post(f"/batches/{code}/cancel", data={"form_key": key})

    assert answer.status_code == 409
    assert code in Page(answer).text


@pytest.mark.parametrize("action", ["cancel", "resume", "retry", "shares"])
@pytest.mark.parametrize("given", [{"form_key": ""}, {"form_key": "made up"}])
async def test_no_other_site_acts_for_somebody(anna, http, waiting, action, given):

    answer = await anna.post(f"/batches/{waiting}/{action}", data=given)

    assert answer.status_code == 403
    assert (await http.get(f"/api/v1/batches/{waiting}")).json()["state"] == "queued"
    assert (await http.get(f"/api/v1/batches/{waiting}/shares")).json()["items"] == []


async def test_who_may_only_look_is_shown_no_forms_and_refused_without_them(
    anna,
    http,
    rows,
    code,
):
    await made_by_a_token(http, code)
    rows.add_user("vera", "viewer")
    await log_in(anna, name="vera")
    page = await anna.get(f"/batches/{code}")

    assert set(actions(page)) == {"/logout"}
    assert "token tests" not in Page(page).text
    answer = await anna.post(f"/batches/{code}/shares", data={"form_key": form_key(page)})
    assert answer.status_code == 403
    assert links_made(answer) == []


async def made_by_a_token(http, code):
    answer = await http.post(f"/api/v1/batches/{code}/shares", json={"lifetime_days": 7})
    assert answer.status_code == 201


async def test_another_projects_batch_is_not_there_to_be_shared(anna, rows, code):
    other = rows.add_project("other")
    rows.add_user("olaf", "maintainer", project=other)
    await log_in(anna, name="olaf")
    key = form_key(await anna.get("/"))

    for action in ("cancel", "resume", "retry", "shares"):
        answer = await anna.post(f"/batches/{code}/{action}", data={"form_key": key})
        assert answer.status_code == 404, action


async def test_the_home_page_marks_integrity_alarms(http, rows, code):
    before = Page(await http.get("/")).text
    with transaction(rows.engine) as session:
        session.execute(sa.update(Result).values(integrity_alarm={"other_digest": "b" * 64}))

    assert "Integrity alarm" not in before
    assert "Integrity alarm" in Page(await http.get("/")).text
    assert code in before


async def test_what_the_plan_could_not_make_is_listed_with_its_reason(http, rows):
    rows.register_simulator()
    front = {"name": "front", "patches": ["zap-return-self", "zap-batch"]}
    row = (await http.post("/api/v1/patch_sets", json=front)).json()
    batch = {
        "traces": [rows.add_trace("boot")],
        "patch_sets": [row["id"]],
        "plan": "ablation",
    }
    submitted = (await http.post("/api/v1/batches", json=batch)).json()
    assert submitted["refused"]

    text = Page(await http.get(f"/batches/{submitted['code']}")).text

    for refusal in submitted["refused"]:
        assert refusal["label"] in text
        assert refusal["reason"] in text


async def test_a_red_cell_says_why_leads_on_and_is_run_again(anna, http, waiting, rows):
    fail_what_waits(rows)
    answer = await anna.get(f"/batches/{waiting}")
    page = Page(answer)
    [button, *others] = [tag for tag in page.all("button") if tag.get("name") == "cell"]
    ids = {tag["id"] for _, tag in page.tags if "id" in tag}
    assert button["form"] in ids
    assert len(others) == 4
    assert "byte 17: not a trace" in page.text.partition("Why each verdict")[0]
    [run, *_] = [tag["href"] for tag in page.all("a") if "/cell?" in tag["href"]]
    assert run.partition("?")[2] == button["value"]

    sent = {"form_key": form_key(answer), "cell": button["value"]}
    done = await anna.post(f"/batches/{waiting}/again", data=sent)

    assert done.status_code == 303, done.text
    states = [run["state"] for run in await runs_of(http, waiting)]
    assert sorted(states) == ["failed"] * 4 + ["queued"]
    assert (await anna.post(f"/batches/{waiting}/again", data=sent)).status_code == 409
    for wrong in ("", "trace=x", "nonsense"):
        refused = await anna.post(f"/batches/{waiting}/again", data=sent | {"cell": wrong})
        assert refused.status_code == 422
    stranger = await http.get(f"/batches/{waiting}")
    assert [tag for tag in Page(stranger).all("button") if tag.get("name") == "cell"] == []


async def test_a_red_cell_of_the_matrix_leads_to_its_reason_and_that_to_its_findings(http, code):
    page = Page(await http.get(f"/batches/{code}"))
    ids = {tag["id"] for _, tag in page.tags if "id" in tag}
    hrefs = {tag["href"] for tag in page.all("a")}

    reasons = {href for href in hrefs if re.fullmatch("#trace-[0-9]+-w[0-9]+", href)}
    findings = {href for href in hrefs if re.fullmatch("#trace-[0-9]+-f[0-9]+", href)}
    assert reasons
    assert findings
    assert {href.removeprefix("#") for href in reasons | findings} <= ids


async def test_a_failed_run_offers_to_run_that_cell_alone(anna, http, waiting, rows):
    fail_what_waits(rows)
    [run, *_] = await runs_of(http, waiting)

    answer = await anna.get(f"/runs/{run['id']}")

    act = f"/batches/{waiting}"
    assert actions(answer)[-3:] == [f"{act}/again", f"{act}/retry", "/notes"]
    [button] = [tag for tag in Page(answer).all("button") if tag.get("name") == "cell"]
    sent = {"form_key": form_key(answer), "cell": button["value"]}
    await anna.post(f"/batches/{waiting}/again", data=sent)
    again = (await http.get(f"/api/v1/runs/{run['id']}")).json()
    assert again["state"] == "queued"


async def test_a_title_is_the_head_of_the_page_and_changed_there(anna, http, code):
    page = await anna.get(f"/batches/{code}")
    assert f"/batches/{code}/title" in actions(page)

    sent = {"form_key": form_key(page), "title": f"v3 {HOSTILE}"}
    done = await anna.post(f"/batches/{code}/title", data=sent)

    assert done.headers["location"] == f"/batches/{code}"
    for path in (f"/batches/{code}", "/batches", "/"):
        text = Page(await anna.get(path)).text
        assert f"v3 {HOSTILE}" in text, path
    await anna.post(f"/batches/{code}/title", data=sent | {"title": ""})
    assert "v3" not in Page(await anna.get(f"/batches/{code}")).text


async def test_only_whom_it_is_allowed_to_is_offered_another_title(http, site, rows, code):
    rows.add_user("carl", "contributor")
    async with in_process(site) as carl:
        carl.headers["origin"] = "http://refault.test"
        await log_in(carl, name="carl")
        page = await carl.get(f"/batches/{code}")
        assert f"/batches/{code}/title" not in actions(page)
        sent = {"form_key": form_key(page), "title": "stolen"}
        assert (await carl.post(f"/batches/{code}/title", data=sent)).status_code == 403
        traces = (await http.get("/api/v1/traces")).json()["items"]
        form = {"form_key": form_key(page), "trace": traces[0]["digest"], "patches": "p1"}
        done = await carl.post(
            "/batches/new", data=form | {"plan": "each", "title": "carl's own", "action": "submit"}
        )
        own = await carl.get(done.headers["location"])
        assert f"{done.headers['location']}/title" in actions(own)
        assert "carl's own" in Page(own).text
