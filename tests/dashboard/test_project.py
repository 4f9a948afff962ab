"""The page of a project, its forms, and the audit log."""

import re

import pytest
import sqlalchemy as sa

from db import session
from db.models import FIRST_PROJECT, WebhookDelivery
from db.repositories import accounts, projects, webhooks
from services.dashboard.limit_text import LimitTextError, limit_of, text_of
from tests.dashboard.test_doors import log_in
from tests.dashboard.test_pages import HOSTILE, Page
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio


@pytest.fixture
async def browser_of(site, rows):
    """Browsers that have logged in, by role."""
    opened = []

    async def make(name, role=None, **given):
        rows.add_user(name, role, **given)
        client = in_process(site)
        opened.append(client)
        client.headers["origin"] = "http://refault.test"
        await log_in(client, name=name)
        return client

    yield make
    for client in opened:
        await client.aclose()


@pytest.fixture
async def anna(browser_of):
    return await browser_of("anna", "maintainer")


async def send(browser, form, **fields):
    page = Page(await browser.get("/project"))
    keys = {tag["value"] for tag in page.all("input") if tag.get("name") == "form_key"}
    key = next(iter(keys), "none")
    return await browser.post(f"/project/{form}", data={"form_key": key, **fields})


def values(page):
    return {tag["name"]: tag.get("value") for tag in page.all("input") if "name" in tag}


async def test_a_maintainer_sees_everything_with_forms(anna):
    page = Page(await anna.get("/project"))

    forms = {tag["action"] for tag in page.all("form") if tag["action"].startswith("/project/")}
    assert forms == {
        f"/project/{name}"
        for name in (
            "members", "members-remove", "tokens", "thresholds", "retention", "limits", "webhooks",
        )
    }  # fmt: skip
    assert "anna maintainer" in page.text
    assert "create-user NAME --email ADDRESS" in page.text
    assert {"/project/audit", "/bundles"} <= {tag["href"] for tag in page.all("a")}


async def test_every_field_has_a_label_and_every_table_a_caption(anna):
    page = Page(await anna.get("/project"))

    labels = {tag["for"] for tag in page.all("label") if "for" in tag}
    named = [
        tag
        for tag in page.all("input") + page.all("select")
        if tag.get("type") not in {"hidden", "checkbox"}
    ]
    assert all(tag.get("id") in labels or "aria-label" in tag for tag in named)
    assert len(page.all("table")) == len(page.all("caption"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


async def test_a_viewer_sees_what_they_may_and_changes_nothing(browser_of, rows):
    rows.add_user("mallory", "maintainer")
    with session.transaction(rows.engine, FIRST_PROJECT) as opened:
        webhooks.add(opened, "https://secret.example.org/", ["batch.finished"])
    victor = await browser_of("victor", "viewer")

    page = Page(await victor.get("/project"))

    forms = {tag["action"] for tag in page.all("form") if tag["action"].startswith("/project/")}
    assert forms == {"/project/tokens"}
    assert "mallory maintainer" in page.text
    assert "secret.example.org" not in page.text
    assert (await send(victor, "retention", days="1")).status_code == 403
    assert (await victor.get("/project/audit")).status_code == 403


async def test_a_token_of_a_program_gets_no_form(http):
    page = Page(await http.get("/project"))

    assert not [tag for tag in page.all("form") if tag.get("method") == "post" and "act" in tag]
    assert not page.all("select")


async def test_without_the_key_of_the_form_nothing_is_changed(anna):
    answer = await anna.post("/project/retention", data={"days": "3", "form_key": "made up"})

    assert answer.status_code == 403
    assert "Traces stay until somebody deletes them" in Page(await anna.get("/project")).text


async def test_members_are_added_changed_and_removed(anna, rows):
    rows.add_user("otto")

    added = await send(anna, "members", user="otto", role="viewer")
    assert added.status_code == 303
    assert added.headers["location"] == "/project#members"
    assert "otto viewer" in Page(await anna.get("/project")).text
    await send(anna, "members", user="otto", role="contributor")
    assert "otto contributor" in Page(await anna.get("/project")).text
    await send(anna, "members-remove", user="otto")
    assert "otto" not in Page(await anna.get("/project")).text


async def test_a_user_who_is_not_there_is_told_beside_the_field_with_what_was_typed(anna):
    answer = await send(anna, "members", user="nobody", role="viewer")

    page = Page(answer)
    assert answer.status_code == 422
    assert "there is no user nobody: an administrator makes users" in page.text
    [field] = [tag for tag in page.all("input") if tag.get("id") == "member-user"]
    assert field["value"] == "nobody"
    assert field["aria-invalid"] == "true"
    assert field["aria-describedby"] == "members-user-error"


async def test_a_token_is_shown_once_works_and_is_revoked(anna, site):
    answer = await send(
        anna, "tokens", name="ci", lifetime_days="30", **{"scope-read": "on", "scope-submit": "on"}
    )

    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    [secret] = [tag["value"] for tag in Page(answer).all("input") if tag.get("id") == "secret"]
    async with in_process(site, secret) as program:
        assert (await program.get("/api/v1/me")).json()["scopes"] == ["read", "submit"]
    again = await anna.get("/project")
    assert secret not in again.text
    assert "ci read, submit" in Page(again).text
    [row_id] = [tag["value"] for tag in Page(again).all("input") if tag.get("name") == "token"]
    assert (await send(anna, "tokens-revoke", token=row_id)).status_code == 303
    async with in_process(site, secret) as program:
        assert (await program.get("/api/v1/me")).status_code == 401


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": "x"}, "choose at least one scope"),
        ({"name": "", "scope-read": "on"}, "at least 1 character"),
        ({"name": "x", "scope-read": "on", "lifetime_days": "900"}, "less than or equal to 365"),
        ({"name": "x", "scope-read": "on", "lifetime_days": "soon"}, "expected a whole number"),
    ],
)
async def test_a_token_that_cannot_be_made_is_told_why(anna, fields, told):
    answer = await send(anna, "tokens", **fields)

    assert answer.status_code == 422
    assert told in Page(answer).text
    assert values(Page(answer))["name"] is not None


async def test_thresholds_are_shares_or_counts_and_empty_ones_are_as_usual(anna):
    fields = {"limit-exits": "0.5 %", "limit-synced": "2,000", "limit-hw_flush": ""}
    answer = await send(anna, "thresholds", **fields)

    assert answer.headers["location"] == "/project#thresholds"
    limits = (await anna.get("/api/v1/thresholds")).json()["limits"]
    assert limits == {
        "exits": {"permille": 5, "absolute": None},
        "synced": {"permille": None, "absolute": 2000},
    }
    shown = values(Page(await anna.get("/project")))
    assert (shown["limit-exits"], shown["limit-synced"]) == ("0.5 %", "2,000")
    assert shown["limit-hw_flush"] == ""


async def test_a_limit_that_is_none_is_told_in_its_row(anna):
    answer = await send(anna, "thresholds", **{"limit-exits": "a bit", "limit-synced": "3 %"})

    page = Page(answer)
    assert answer.status_code == 422
    assert "a bit: expected a share such as 1 % or 0.5 %" in page.text
    assert values(page)["limit-synced"] == "3 %"
    assert (await anna.get("/api/v1/thresholds")).json()["limits"] == {}


async def test_a_limit_the_api_refuses_is_told_in_its_row(anna):
    answer = await send(anna, "thresholds", **{"limit-exits": "90000.0 %", "limit-nothing": "1"})

    assert answer.status_code == 422
    assert "nothing: not a cost" in Page(answer).text


async def test_retention_and_limits_are_set_and_refused(anna):
    assert (await send(anna, "retention", days="90")).status_code == 303
    assert "90 days after" in Page(await anna.get("/project")).text
    assert (await send(anna, "limits", shard_seconds="60", build_role="nobody")).status_code == 303
    text = Page(await anna.get("/project")).text
    assert "60 s" in text
    assert "built by nobody" in text

    refused = await send(anna, "limits", shard_seconds="99999999", build_role="nobody")
    assert refused.status_code == 422
    assert "is more than the" in Page(refused).text
    refused = await send(anna, "retention", days="0")
    assert refused.status_code == 422
    assert "greater than or equal to 1" in Page(refused).text


async def test_a_webhook_is_made_shown_with_its_messages_and_deleted(anna, rows):
    made = await send(
        anna, "webhooks", url="https://93.184.216.34/hook", **{"event-batch.failed": "on"}
    )
    assert made.status_code == 201
    assert [tag for tag in Page(made).all("input") if tag.get("id") == "secret"]
    with session.transaction(rows.engine, FIRST_PROJECT) as opened:
        [hook] = webhooks.list_page(opened, after=None, limit=5).rows
        opened.add(
            WebhookDelivery(
                webhook_id=hook.id, event="batch.failed", body="{}", state="given_up",
                attempt_count=7, last_status=500, next_at=sa.null(), ended_at=sa.func.now(),
            )
        )  # fmt: skip

    page = Page(await anna.get("/project"))
    assert "https://93.184.216.34/hook , for batch.failed" in page.text
    assert "batch.failed ✕ given up 7 500" in page.text
    [row_id] = [tag["value"] for tag in page.all("input") if tag.get("name") == "webhook"]
    await send(anna, "webhooks-delete", webhook=row_id)
    assert "No webhooks yet" in Page(await anna.get("/project")).text


async def test_an_address_of_this_machine_is_refused_beside_its_field(anna):
    answer = await send(anna, "webhooks", url="http://127.0.0.1/", **{"event-batch.failed": "on"})

    page = Page(answer)
    assert answer.status_code == 422
    [field] = [tag for tag in page.all("input") if tag.get("id") == "hook-url"]
    assert field["aria-invalid"] == "true"


async def test_an_administrator_makes_users_with_a_password_shown_once(browser_of):
    root = await browser_of("root", is_admin=True)
    await root.put("/api/v1/sessions/current", json={"project": "main"})

    answer = await send(root, "users", name="nina", email="", role="viewer")

    assert answer.status_code == 201
    [password] = [tag["value"] for tag in Page(answer).all("input") if tag.get("id") == "secret"]
    assert len(password) > 10
    text = Page(await root.get("/project")).text
    assert "nina viewer" in text
    assert password not in text
    refused = await send(root, "users", name="Not A Name", email="", role="viewer")
    assert refused.status_code == 422


async def test_the_audit_log_is_paged_and_narrowed_by_its_address(anna, rows):
    for days in range(1, 55):
        await anna.put(
            "/api/v1/retention", json={"days": days}, headers={"x-csrf-token": await key_of(anna)}
        )

    page = Page(await anna.get("/project/audit", params={"action": "PUT"}))
    assert "50 entries, only those that begin so" in page.text
    # Beyond what the other columns say, and no word for nothing.
    assert "status 200" in page.text
    assert "None" not in page.text
    assert "path" not in page.text
    [hint] = [tag["placeholder"] for tag in page.all("input") if tag.get("name") == "action"]
    assert hint == "POST /batches"  # as actions are stored
    [older] = [tag["href"] for tag in page.all("a") if tag.get("rel") == "next"]
    rest = Page(await anna.get(f"/project/audit{older}"))
    assert re.search(r"\b4 entries, only those that begin so", rest.text)
    nobody = Page(await anna.get("/project/audit", params={"actor": "token"}))
    assert "No entry begins so" in nobody.text
    # Signs of a pattern are themselves.
    assert (
        "No entry begins so"
        in Page(await anna.get("/project/audit", params={"actor": "user%"})).text
    )


async def key_of(browser):
    return (await browser.get("/api/v1/me")).json()["form_key"]


async def test_foreign_text_is_escaped(anna):
    answer = await send(anna, "members", user=HOSTILE, role="viewer")

    assert "<script>alert" not in answer.text


async def test_another_project_shows_nothing_of_this_one(anna, browser_of, rows):
    await send(anna, "tokens", name="token-of-main", **{"scope-read": "on"})
    other = await browser_of("berta", "maintainer", project=rows.add_project("other"))

    page = await other.get("/project")
    log = await other.get("/project/audit")

    assert "Project other" in Page(page).text
    for text in (page.text, log.text):
        assert "anna" not in text
        assert "token-of-main" not in text


async def test_who_has_no_project_is_told_how_to_get_one(browser_of):
    lost = await browser_of("lost")

    assert "You are in no project yet" in Page(await lost.get("/project")).text


async def test_an_unknown_form_is_not_found(anna):
    assert (await send(anna, "everything")).status_code == 404


@pytest.mark.parametrize(
    ("text", "limit"),
    [("1 %", {"permille": 10}), ("0.5%", {"permille": 5}), ("0", {"absolute": 0}),
     ("2,000", {"absolute": 2000})],
)  # fmt: skip
def test_limits_are_read_and_written_alike(text, limit):
    assert limit_of(text) == limit
    whole = {"permille": None, "absolute": None} | limit
    assert limit_of(text_of(whole)) == limit


@pytest.mark.parametrize("text", ["", "-1", "1.25 %", "%", "1e3", "٣", "1 % more"])
def test_what_is_no_limit_is_refused(text):
    with pytest.raises(LimitTextError):
        limit_of(text)


async def test_whoever_is_in_several_projects_and_chose_none_chooses_there(browser_of, rows):
    lost = await browser_of("lost")
    for name in ("first", "second"):
        with session.transaction(rows.engine) as opened:
            project = projects.add(opened, name).id
            accounts.set_role(opened, project, accounts.get_user(opened, "lost"), "viewer")

    page = Page(await lost.get("/project"))

    assert "Choose a project" in page.text
    assert "/project" in [tag["action"] for tag in page.all("form")]


async def test_a_password_that_was_made_is_shown_though_the_role_is_refused(browser_of, site):
    root = await browser_of("root", "maintainer", is_admin=True)

    answer = await send(root, "users", name="newcomer", email="", role="emperor")

    page = Page(answer)
    assert answer.status_code == 422
    [password] = [tag["value"] for tag in page.all("input") if tag.get("id") == "secret"]
    assert password
    assert "newcomer was made, but is no member yet" in page.text
    async with in_process(site) as newcomer:
        newcomer.headers["origin"] = "http://refault.test"
        await log_in(newcomer, password=password, name="newcomer")
        assert "You are in no project yet" in Page(await newcomer.get("/")).text


async def test_a_token_of_no_days_is_refused_and_not_one_of_ninety(anna):
    refused = await send(anna, "tokens", name="ci", lifetime_days="0", **{"scope-read": "on"})

    assert refused.status_code == 422
    assert 'value="0"' in refused.text
    assert "No tokens yet" in Page(await anna.get("/project")).text
    made = await send(anna, "tokens", name="ci", lifetime_days="", **{"scope-read": "on"})
    assert made.status_code == 201


async def test_how_much_of_each_quota_is_used_stands_beside_it(browser_of, rows):
    small = rows.add_project("small", quota_traces=1, quota_bytes=10**9)
    paul = await browser_of("paul", "viewer", project=small)
    digest = rows.add_trace("boot")
    with session.transaction(rows.engine) as opened:
        opened.execute(
            sa.text("UPDATE traces SET project_id = :project WHERE digest = :digest"),
            {"project": small, "digest": digest},
        )

    text = Page(await paul.get("/project")).text.partition("Limits and quotas")[2]

    assert "Traces ✕ 1 1 100 %" in text
    assert "Files of traces, trees and kernels 891.0 KiB 953.7 MiB 0 %" in text
    assert "Runs that wait 0 no bound –" in text
