"""Lists that are searched and counted, the verdicts in them, and what is new."""

import datetime

import pytest
import sqlalchemy as sa

from db.models import Batch, Visit
from services.api.batches import verdicts
from tests.builders import digest_of, transaction
from tests.fixtures.api import PASSWORD, SERIES, in_process

pytestmark = pytest.mark.anyio

BATCHES = "/api/v1/batches"
TRACES = "/api/v1/traces"
NEWS = "/api/v1/news"


async def submit(http, digests, body=SERIES, plan="series"):
    row = (await http.post("/api/v1/patch_sets", json=body)).json()
    batch = {"traces": digests, "patch_sets": [row["id"]], "plan": plan}
    return (await http.post(BATCHES, json=batch)).json()["code"]


@pytest.fixture
async def ended(http, rows):
    """The code of a batch that is over, with a wrong answer in it."""
    return await submit(http, rows.ready_for_seed_series())


@pytest.fixture
async def waiting(http, rows, ended):
    """The code of one that no worker has begun."""
    return await submit(http, [rows.add_trace("waiting-guest")], plan="ablation")


async def codes(http, query=""):
    found = await http.get(f"{BATCHES}{query}")
    assert found.status_code == 200, found.text
    return [batch["code"] for batch in found.json()["items"]]


async def test_a_list_has_the_verdict_of_each_batch_that_is_over(http, ended, waiting):
    running, over = (await http.get(BATCHES)).json()["items"]

    assert (running["code"], running["verdict"]) == (waiting, None)
    assert over["verdict"]["status"] == "guest-visible-change"
    assert over["verdict"]["exit_code"] == 1
    assert len(over["verdict"]["reasons"]) == 1
    alone = (await http.get(f"{BATCHES}/{ended}")).json()["verdict"]
    assert over["verdict"] == alone | {"reasons": alone["reasons"][:1]}


async def test_a_batch_under_way_has_its_pace_and_no_verdict(http, rows, ended, waiting):
    def pace():
        return http.get(f"{BATCHES}?state=queued")

    assert (await pace()).json()["items"][0]["pace"] == {
        "events_per_second": None, "seconds_left": None,
    }  # fmt: skip
    with transaction(rows.engine) as session:
        session.execute(
            sa.text(
                "UPDATE shards SET events_done = events_total / 4,"
                " started_at = clock_timestamp() - interval '30 s'"
            )
        )

    [found] = (await pace()).json()["items"]

    assert found["progress"]["events_total"] == 4 * found["progress"]["events_done"] > 0
    # A quarter took 30 s.
    assert 80 < found["pace"]["seconds_left"] < 200
    [over] = (await http.get(f"{BATCHES}?state=done")).json()["items"]
    assert over["pace"] is None


async def test_other_thresholds_and_alarms_are_judged_anew(http, rows, ended):
    with transaction(rows.engine) as session:
        before = session.scalars(sa.select(Batch.verdict_key)).one()
    await codes(http)
    with transaction(rows.engine) as session:
        first = session.scalars(sa.select(Batch.verdict_key)).one()
    await http.put("/api/v1/thresholds", json={"limits": {"exits": {"permille": 900}}})
    with transaction(rows.engine) as session:
        # No filter finds it by the verdict that it had.
        assert session.scalars(sa.select(Batch.verdict_key)).one() is None
    await codes(http)
    with transaction(rows.engine) as session:
        second = session.scalars(sa.select(Batch.verdict_key)).one()
        session.execute(sa.text('UPDATE results SET integrity_alarm = \'{"stored_digest": "x"}\''))

    [over] = (await http.get(BATCHES)).json()["items"]

    assert len({before, first, second}) == 3
    assert over["verdict"]["status"] == "integrity"


async def test_a_damaged_result_costs_its_batch_the_verdict_and_the_list_nothing(http, rows, ended):
    damage = "UPDATE results SET facts = NULL, body = '{}' WHERE facts IS NOT NULL"
    with transaction(rows.engine) as session:
        session.execute(sa.text(damage))

    [over] = (await http.get(BATCHES)).json()["items"]

    assert (over["code"], over["verdict"]) == (ended, None)


async def test_a_large_batch_is_judged_behind_the_list(
    http, api_settings, site, rows, ended, monkeypatch
):
    monkeypatch.setattr(verdicts.kept, "__kwdefaults__", {"cells_max": 9})

    [over] = (await http.get(BATCHES)).json()["items"]
    assert over["verdict"] is None
    assert verdicts.judge_waiting(site.api.state.resources) == 1
    assert verdicts.judge_waiting(site.api.state.resources) == 0

    [over] = (await http.get(BATCHES)).json()["items"]
    assert over["verdict"]["status"] == "guest-visible-change"


async def test_batches_are_found_by_what_they_are(http, ended, waiting):
    for query, expected in (
        ("", [waiting, ended]),
        ("?sort=oldest", [ended, waiting]),
        ("?sort=runs", [ended, waiting]),
        (f"?q={ended}", [ended]),
        ("?q=WAITING-guest", [waiting]),
        ("?q=series of 12", [waiting, ended]),
        (f"?q={digest_of('waiting-guest')[:10]}", [waiting]),
        (f"?trace={digest_of('waiting-guest')}", [waiting]),
        ("?state=done", [ended]),
        ("?state=done&state=queued", [waiting, ended]),
        ("?verdict=guest-visible-change", [ended]),
        ("?verdict=identical", []),
        ("?plan=ablation", [waiting]),
        ("?submitter=token tests", [waiting, ended]),
        ("?submitter=user nobody", []),
        ("?q=100%25", []),
    ):
        await codes(http)  # judges
        assert await codes(http, query) == expected, query
    for query in ("?state=x", "?plan=x", "?sort=x", "?verdict=X!", "?trace=x"):
        assert (await http.get(f"{BATCHES}{query}")).status_code == 422, query


async def test_pages_of_a_search_have_the_same_search(http, ended, waiting):
    first = (await http.get(f"{BATCHES}?sort=oldest&limit=1")).json()
    second = await codes(http, f"?sort=oldest&limit=1&cursor={first['next_cursor']}")

    assert [batch["code"] for batch in first["items"]] == [ended]
    assert second == [waiting]


async def test_facets_count_what_one_would_get(http, ended, waiting):
    await codes(http)

    found = (await http.get(f"{BATCHES}/facets?plan=ablation")).json()

    assert found["state"] == [{"value": "queued", "count": 1}]
    assert found["verdict"] == []
    assert found["plan"] == [{"value": "ablation", "count": 1}, {"value": "series", "count": 1}]
    assert found["submitter"] == [{"value": "token tests", "count": 1}]


async def test_traces_are_found_and_counted_by_guest_vcpus_kernel_and_tag(http, rows):
    rows.add_trace("one", tags=["boot", "small"], guest={"kernel": "6.1"})
    rows.add_trace("two", tags=["boot"], vcpu_count=2, guest_mode="pae", guest={"kernel": "2.6"})

    async def names(query):
        items = (await http.get(f"{TRACES}{query}")).json()["items"]
        return [trace["name"] for trace in items]

    assert await names("?vcpus=2") == ["two"]
    assert await names("?kernel=6.1") == ["one"]
    assert await names("?tag=boot&kernel=2.6") == ["two"]
    found = (await http.get(f"{TRACES}/facets?guest_mode=pae")).json()
    assert found["guest_mode"] == [{"value": "long", "count": 1}, {"value": "pae", "count": 1}]
    assert found["vcpus"] == [{"value": "2", "count": 1}]
    assert found["tag"] == [{"value": "boot", "count": 1}]
    assert found["kernel"] == [{"value": "2.6", "count": 1}]
    assert (await http.get(f"{TRACES}?vcpus=0")).status_code == 422


async def test_another_project_sees_and_counts_nothing(site, rows, http, ended, waiting):
    await codes(http)
    other = rows.add_project("other")
    async with in_process(site, rows.mint_token(project=other)) as stranger:
        assert await codes(stranger) == []
        facets = (await stranger.get(f"{BATCHES}/facets")).json()
        assert all(values == [] for values in facets.values())
        assert all(v == [] for v in (await stranger.get(f"{TRACES}/facets")).json().values())
        news = (await stranger.get(NEWS)).json()
        assert (news["ended_count"], news["trace_count"], news["ended"]) == (0, 0, [])


async def test_news_are_what_came_after_a_time(http, ended, waiting):
    everything = (await http.get(NEWS)).json()
    assert everything["since"] is None
    assert everything["submitted_count"] == 2
    assert [batch["code"] for batch in everything["ended"]] == [ended]
    assert everything["trace_count"] == 3
    [batch] = everything["ended"]

    moment = batch["finished_at"].replace("Z", "999Z")
    later = (await http.get(NEWS, params={"since": moment})).json()
    assert later["ended_count"] == 0
    assert later["submitted_count"] == 1
    assert (await http.get(f"{NEWS}?since=yesterday")).status_code == 422


async def test_a_visit_is_noted_now_and_then_and_not_by_every_poll(site, rows, http):
    rows.add_user("anna", "viewer")

    def row():
        with transaction(rows.engine) as session:
            found = session.scalars(sa.select(Visit)).one()
            return found.since, found.last_at

    def move(minutes):
        with transaction(rows.engine) as session:
            session.execute(
                sa.text("UPDATE visits SET last_at = last_at - make_interval(mins => :minutes)"),
                {"minutes": minutes},
            )

    async with in_process(site) as anna:
        opened = await anna.post("/api/v1/sessions", json={"name": "anna", "password": PASSWORD})
        anna.cookies.set("refault_session", opened.json()["secret"])
        assert (await anna.get(NEWS)).json()["since"] is None
        began = row()
        assert (await anna.get(NEWS)).json()["since"] is None
        assert row() == began

        move(40)
        gone = row()[1]
        since = (await anna.get(NEWS)).json()["since"]
        assert abs(datetime.datetime.fromisoformat(since) - gone) < datetime.timedelta(seconds=1)
        rows.add_trace("since then")
        assert (await anna.get(NEWS)).json()["trace_count"] == 1
        assert row()[0] == gone


async def test_news_counts_without_naming_and_tells_what_is_open(http, ended, rows):
    waiting = await submit(http, [rows.add_trace("waits")], SERIES | {"name": "more"})
    whole = (await http.get(NEWS)).json()
    bare = (await http.get(NEWS, params={"named": 0})).json()
    one = (await http.get(NEWS, params={"named": 1})).json()

    assert waiting
    assert whole["open_count"] == bare["open_count"] == 1
    assert (bare["ended"], bare["traces"]) == ([], [])
    assert bare["ended_count"] == whole["ended_count"] == 1
    assert [each["code"] for each in one["ended"]] == [ended]
    assert len(one["traces"]) == 1
    assert (await http.get(NEWS, params={"named": 6})).status_code == 422
