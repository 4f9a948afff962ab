"""The first page, and the lists of batches and of traces."""

import pytest
import sqlalchemy as sa

from refault.client import AsyncClient
from tests.builders import transaction
from tests.dashboard.test_doors import log_in
from tests.dashboard.test_pages import HOSTILE, Page, hostile_batch, keeps_to_the_policy, submit
from tests.fixtures.api import SERIES, in_process

pytestmark = pytest.mark.anyio

PLACES = ("/", "/batches", "/traces", "/latest")


@pytest.fixture
async def ended(http, rows):
    return await submit(http, rows.ready_for_seed_series())


@pytest.fixture
async def waiting(http, rows, ended):
    body = SERIES | {"name": "another series"}
    return await submit(http, [rows.add_trace("waiting-guest")], body, "ablation")


def parts(answer):
    return [tag["data-part"] for _, tag in Page(answer).tags if "data-part" in tag]


async def test_home_shows_what_runs_and_the_verdict_of_what_ended(anna, ended, waiting):
    answer = await anna.get("/")
    page = Page(answer)

    assert answer.status_code == 200, answer.text[:3000]
    running = page.text.partition("Running now")[2].partition("Latest batches")[0]
    assert waiting in running
    assert "waits for a worker" in running
    assert "by token tests" in running
    assert ended not in running
    latest = page.text.partition("Latest batches")[2]
    assert "Guest sees a change" in latest
    assert "1-3 on linux61-boot-1cpu: 32 accesses reached a wrong address" in latest
    assert "✓" not in latest, "done is no verdict"
    assert "series" in latest
    refresh = [tag for tag in page.all("meta") if tag.get("http-equiv") == "refresh"]
    assert len(refresh) == 1


async def test_the_parts_of_home_are_those_of_the_page(anna, ended, waiting):
    assert parts(await anna.get("/latest")) == parts(await anna.get("/"))
    assert "data-open" in (await anna.get("/latest")).text


async def test_an_idle_home_does_not_reload(anna, ended):
    page = Page(await anna.get("/"))

    assert "Nothing runs at the moment." in page.text
    assert [tag for tag in page.all("meta") if tag.get("http-equiv")] == []


async def test_a_running_batch_has_its_rate_and_time_left(anna, rows, waiting):
    with transaction(rows.engine) as session:
        session.execute(
            sa.text(
                "UPDATE shards SET events_done = events_total / 4,"
                " started_at = clock_timestamp() - interval '60 s'"
            )
        )

    text = Page(await anna.get("/")).text

    assert "events a second, about 3 min left" in text


async def test_home_tells_what_is_new_since_the_last_visit(anna, rows, ended):
    assert "Since your last visit" not in Page(await anna.get("/")).text
    with transaction(rows.engine) as session:
        session.execute(sa.text("UPDATE visits SET last_at = last_at - interval '2 h'"))

    text = Page(await anna.get("/")).text

    assert "Since your last visit" in text
    assert "1 batch submitted, 1 ended, 2 traces uploaded." in text
    assert ended in text.partition("Since your last visit")[2].partition("Latest batches")[0]


async def test_an_empty_home_teaches(anna):
    text = Page(await anna.get("/")).text

    assert "How to begin" in text
    assert "export REFAULT_URL=http://refault.test" in text
    assert "refault push demo/traces/*.rft" in text
    assert "refault submit TRACE --patches series --plan series --wait" in text


async def test_a_filtered_list_is_a_link(anna, ended, waiting):
    found = Page(await anna.get("/batches?plan=ablation"))

    assert waiting in found.text
    assert f"/batches/{ended}" not in {tag["href"] for tag in found.all("a")}
    # The form says what is chosen, and what else there would be.
    assert "series (1)" in found.text
    chosen = [tag["value"] for tag in found.all("option") if "selected" in tag]
    assert chosen == ["ablation", ""]
    assert "/batches.json?plan=ablation" in {tag["href"] for tag in found.all("a")}


async def test_a_list_is_searched_and_what_is_not_found_is_said(anna, ended, waiting):
    assert waiting in Page(await anna.get("/batches?q=another+series")).text
    none = Page(await anna.get("/batches?q=no+such+thing&state="))
    assert "No batch is like that." in none.text
    assert "/batches" in {tag["href"] for tag in none.all("a")}
    assert [tag["value"] for tag in none.all("input") if tag["name"] == "q"] == ["no such thing"]
    assert "No trace is like that." in Page(await anna.get("/traces?q=nothing+like+it")).text


async def test_a_list_is_also_json(anna, ended, waiting):
    answer = await anna.get("/batches.json?plan=ablation&after=")
    assert answer.headers["location"] == "/api/v1/batches?plan=ablation"
    found = (await anna.get(answer.headers["location"])).json()
    assert [batch["code"] for batch in found["items"]] == [waiting]
    assert (await anna.get("/traces.json")).headers["location"] == "/api/v1/traces"


async def test_pages_of_a_filtered_list_keep_the_filter(anna, rows):
    for number in range(21):
        rows.add_trace(f"trace {number}", tags=["many"])
    rows.add_trace("other")

    first = Page(await anna.get("/traces?tag=many&sort=oldest"))
    (following,) = [tag["href"] for tag in first.all("a") if "&after=" in tag["href"]]
    second = Page(await anna.get(following))

    assert following.startswith("/traces?tag=many&sort=oldest&after=")
    assert "trace 20" in second.text
    assert "other" not in second.text
    assert "/traces?tag=many&sort=oldest" in {tag["href"] for tag in second.all("a")}


@pytest.mark.parametrize("query", ["state=x", "sort=x", "after=x", "plan=x"])
async def test_a_filter_that_is_none_is_a_page_that_says_so(anna, query):
    answer = await anna.get(f"/batches?{query}")

    assert answer.status_code == 422
    assert query.partition("=")[0].replace("after", "cursor") in Page(answer).text


async def test_every_list_keeps_to_the_policy(anna, ended, waiting):
    for place in ("/batches", "/traces", "/latest"):
        assert keeps_to_the_policy(await anna.get(place))
    home = await anna.get("/")
    assert home.text.count("//") == 1, "the address to upload to, and no other"
    assert home.headers["content-security-policy"]


async def test_tables_are_real_tables(anna, ended, waiting):
    for place in PLACES:
        page = Page(await anna.get(place))
        assert len(page.all("table")) == len(page.all("caption")) >= 1, place
        assert all(head.get("scope") in {"col", "row"} for head in page.all("th")), place
        ids = [tag["id"] for _, tag in page.tags if "id" in tag]
        assert len(ids) == len(set(ids)), place


async def test_hostile_names_stay_text_in_every_list(http, anna, rows):
    await hostile_batch(http, rows)

    for place in PLACES:
        answer = await anna.get(place)
        assert "<script>alert" not in answer.text, place
        assert HOSTILE.partition("{{")[0].strip() in Page(answer).text, place
    found = await anna.get("/batches", params={"q": HOSTILE})
    assert "<script>alert" not in found.text


async def test_another_project_sees_nothing(site, rows, ended, waiting):
    other = rows.add_project("other")
    rows.add_user("berta", "contributor", other)
    async with in_process(site) as berta:
        berta.headers["origin"] = "http://refault.test"
        await log_in(berta, name="berta")
        for place in PLACES:
            text = (await berta.get(place)).text
            assert ended not in text, place
            assert waiting not in text, place
            assert "linux61" not in text, place


async def test_home_lists_batches_once_while_the_latest_have_all_it_names(
    anna, ended, waiting, monkeypatch
):
    asked = []
    list_batches = AsyncClient.list_batches

    async def counted(client, **given):
        asked.append(given)
        return await list_batches(client, **given)

    monkeypatch.setattr(AsyncClient, "list_batches", counted)

    page = Page(await anna.get("/"))

    assert len(asked) == 1
    assert waiting in page.text.partition("Running now")[2].partition("Latest batches")[0]


async def test_what_runs_is_shown_though_newer_batches_are_over(anna, http, waiting, rows):
    """The list of the latest does not have it."""
    digests = rows.ready_for_seed_series()
    for number in range(9):
        await submit(http, digests, SERIES | {"name": f"series {number}"})

    page = Page(await anna.get("/"))

    assert waiting in page.text.partition("Running now")[2].partition("Latest batches")[0]
    assert waiting not in page.text.partition("Latest batches")[2]
