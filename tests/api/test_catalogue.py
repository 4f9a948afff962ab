"""What is known of traces: searched, changed, deleted."""

import datetime
import hashlib
import logging
import uuid

import pytest
import sqlalchemy as sa

from db.models import Batch, Project, Result, Run, Shard, Trace
from db.repositories import traces
from db.session import transaction
from refault.trace import EventKind
from services.api import housekeeping
from tests.api.test_uploads import GOOD
from tests.builders import digest_of
from tests.fixtures.api import SERIES, block, runs_of, trace_bytes

pytestmark = pytest.mark.anyio

TRACES = "/api/v1/traces"
OTHER = uuid.UUID("01900000-0000-7000-8000-0000000000ff")


@pytest.fixture
def shelf(rows):
    """Four traces that differ in what they can be told apart by."""
    rows.add_trace("boot", tags=["linux", "keep"], guest={"kernel": "6.1"}, event_count=5)
    rows.add_trace("build", tags=["linux"], note="make -j8, 100% busy", event_count=9)
    rows.add_trace("vectors", content="operations", guest_mode="pae", event_count=7)
    rows.add_trace("amber", guest_mode="32bit", event_count=7)


async def names(http, **params):
    answer = await http.get(TRACES, params=params)
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"q": "BOO"}, ["boot"]),
        ({"q": "6.1"}, ["boot"]),
        ({"q": "-j8"}, ["build"]),
        ({"q": "%"}, ["build"]),
        ({"q": "_"}, []),
        ({"q": digest_of("amber")[:10].upper()}, ["amber"]),
        ({"tag": "linux"}, ["boot", "build"]),
        ({"tag": ["linux", "keep"]}, ["boot"]),
        ({"tag": "lin"}, []),
        ({"content": "operations"}, ["vectors"]),
        ({"guest_mode": "32bit"}, ["amber"]),
        ({"q": "b", "tag": "linux", "content": "operations"}, []),
    ],
)
async def test_traces_are_found_by_what_is_known_of_them(http, shelf, params, expected):
    assert sorted(await names(http, **params)) == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("newest", ["amber", "vectors", "build", "boot"]),
        ("oldest", ["boot", "build", "vectors", "amber"]),
        ("name", ["amber", "boot", "build", "vectors"]),
        ("events", ["build", "amber", "vectors", "boot"]),
    ],
)
async def test_sorted_lists_are_paged_whole_also_where_values_are_equal(
    http, shelf, sort, expected
):
    found, cursor = [], None
    for _ in expected:
        params = {"limit": 1, "sort": sort} | ({"cursor": cursor} if cursor else {})
        page = (await http.get(TRACES, params=params)).json()
        found += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]

    assert found == expected
    assert cursor is None


async def test_a_page_behind_a_trace_that_is_gone_is_refused(http, shelf):
    answer = await http.get(TRACES, params={"sort": "name", "cursor": str(uuid.uuid4())})

    assert answer.status_code == 422
    assert "deleted" in answer.json()["detail"]


@pytest.mark.parametrize("params", [{"sort": "luck"}, {"tag": "two words"}, {"q": "a\0"}])
async def test_a_search_that_cannot_be_is_refused(http, params):
    assert (await http.get(TRACES, params=params)).status_code == 422


async def test_what_people_say_of_a_trace_can_be_changed(http, rows):
    digest = rows.add_trace("boot", tags=["old"], note="stays")
    before = (await http.get(f"{TRACES}/{digest}")).json()
    changes = {"name": "Boot of 6.1", "tags": ["b", "a", "b"], "guest": {"memory": "256 MiB"}}

    answer = await http.patch(f"{TRACES}/{digest}", json=changes)
    after = (await http.get(f"{TRACES}/{digest}")).json()

    assert answer.status_code == 200
    assert answer.json() == after
    assert after.pop("updated_at") > before.pop("updated_at")
    assert after == before | changes | {"tags": ["b", "a"]}


async def test_a_change_of_what_was_changed_meanwhile_is_refused(http, rows):
    place = f"{TRACES}/{rows.add_trace('boot')}"
    seen = (await http.get(place)).headers["etag"]
    mine = await http.patch(place, json={"note": "mine"}, headers={"if-match": seen})

    theirs = await http.patch(place, json={"note": "theirs"}, headers={"if-match": seen})
    again = await http.patch(
        place, json={"note": "theirs"}, headers={"if-match": mine.headers["etag"]}
    )

    assert (mine.status_code, theirs.status_code, again.status_code) == (200, 412, 200)
    assert theirs.json()["type"] == "/problems/version-mismatch"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"tags": ["two words"]},
        {"tags": ["x" * 51]},
        {"tags": [""]},
        {"tags": ["x\n"]},
        {"tags": "x"},
        {"digest": "0" * 64},
        {"note": "\0"},
    ],
)
async def test_a_change_that_cannot_be_is_refused(http, rows, changes):
    place = f"{TRACES}/{rows.add_trace('boot')}"

    assert (await http.patch(place, json=changes)).status_code == 422


async def test_a_tag_is_a_word_of_any_script_and_at_most_fifty_characters(http, rows):
    place = f"{TRACES}/{rows.add_trace('boot')}"
    tags = ["x" * 50, "größe", "v6.1+/a:b-c"]

    assert (await http.patch(place, json={"tags": tags})).json()["tags"] == tags


async def test_an_upload_is_known_by_its_address_spaces_and_marks(http):
    data = trace_bytes(
        guest={"kernel": "6.1"},
        workload_marks={"7": "the build begins"},
        blocks=[
            block(EventKind.CR, 4, aux=3, a=[0x2000, 0x3000, 0x2000, 0x3005]),
            block(EventKind.CR, 1, aux=4, a=0x9000),
            block(EventKind.MARK, 3, aux=0, a=[7, 9, 7]),
        ],
    )

    trace = (await http.post(TRACES, content=data)).json()

    assert trace["guest"] == {"kernel": "6.1"}
    makeup = trace["statistics"].pop("makeup")
    assert {kind: sum(counts) for kind, counts in makeup["kinds"].items()} == {"CR": 5, "MARK": 3}
    assert trace["statistics"] == {
        "address_space_count": 2,
        "work": 8,
        "memory_bytes": 640,
        "marks": [
            {"number": 7, "count": 2, "meaning": "the build begins"},
            {"number": 9, "count": 1, "meaning": ""},
        ],
        "verification": None,
        "working_set": None,
    }


async def submit(http, digests):
    row = (await http.post("/api/v1/patch_sets", json=SERIES)).json()
    body = {"traces": digests, "patch_sets": [row["id"]], "plan": "series"}
    answer = await http.post("/api/v1/batches", json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


async def test_the_cost_of_a_variant_is_estimated_from_recent_shards(http, rows):
    rows.register_simulator()
    digest = rows.add_trace("boot", event_count=1_000_000)
    assert (await http.get(f"{TRACES}/{digest}")).json()["estimated_variant_seconds"] is None
    batch = await submit(http, [digest])
    began = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
    with transaction(rows.engine) as session:
        variant_count = session.scalar(sa.select(sa.func.count()).select_from(Run))
        shard_count = session.scalar(sa.select(sa.func.count()).select_from(Shard))
        session.execute(
            sa.update(Shard).values(
                state="done", started_at=began, finished_at=began + datetime.timedelta(seconds=3)
            )
        )
    expected = 3 * shard_count / variant_count

    found = (await http.get(f"{TRACES}/{digest}")).json()["estimated_variant_seconds"]

    assert batch["progress"]["total"] == variant_count
    assert found == pytest.approx(expected, rel=0.01)


async def test_a_trace_nobody_uses_is_deleted_with_its_file(http, rows):
    trace = (await http.post(TRACES, content=GOOD)).json()
    preview = (await http.delete(f"{TRACES}/{trace['id']}", params={"dry_run": True})).json()
    assert not rows.nothing_is_left()

    answer = await http.delete(f"{TRACES}/{trace['id']}")

    assert answer.json() == preview | {"deleted": True}
    assert preview["blob"]
    assert preview["size_bytes"] == len(GOOD)
    assert rows.nothing_is_left()
    assert (await http.delete(f"{TRACES}/{trace['id']}")).status_code == 404
    assert (await http.post(TRACES, content=GOOD)).status_code == 201


async def test_what_was_put_aside_of_a_traces_replays_goes_with_it(http, rows):
    """Files of snapshots once stayed behind, with what the guest's tables held."""
    rows.register_simulator()
    boot, other = rows.add_trace("boot"), rows.add_trace("other")
    for digest in (boot, other):
        code = (await submit(http, [digest]))["code"]
        await http.post(f"/api/v1/batches/{code}/cancel")
    with transaction(rows.engine) as session:
        shards = {shard.trace.digest: shard.id for shard in session.scalars(sa.select(Shard))}
    folder = rows.blobs / "snapshots"
    folder.mkdir()
    for digest in (boot, other):
        (folder / f"{shards[digest]}.{'a' * 64}").write_bytes(b"tables")
    # One that a worker was killed before it could register.
    (folder / f"{shards[boot]}.{'b' * 64}").write_bytes(b"tables")

    preview = (await http.delete(f"{TRACES}/{boot}", params={"dry_run": True})).json()
    assert len(list(folder.iterdir())) == 3
    answer = (await http.delete(f"{TRACES}/{boot}", params={"cascade": True})).json()

    assert preview["snapshot_count"] == answer["snapshot_count"] == 2
    assert [path.name for path in folder.iterdir()] == [f"{shards[other]}.{'a' * 64}"]


async def test_a_trace_whose_snapshots_cannot_be_removed_is_still_there(http, rows):
    rows.register_simulator()
    boot = rows.add_trace("boot")
    code = (await submit(http, [boot]))["code"]
    await http.post(f"/api/v1/batches/{code}/cancel")
    with transaction(rows.engine) as session:
        shard, *_ = session.scalars(sa.select(Shard.id)).all()
    folder = rows.blobs / "snapshots"
    folder.mkdir()
    # Not a file: the kernel refuses to unlink it, whoever asks.
    (folder / f"{shard}.{'a' * 64}").mkdir()

    answer = await http.delete(f"{TRACES}/{boot}", params={"cascade": True})

    assert answer.status_code == 503
    assert "cannot be removed" in answer.json()["detail"]
    assert (await http.get(f"{TRACES}/{boot}")).status_code == 200


async def test_a_trace_of_batches_goes_only_on_request_and_takes_its_part_of_them(http, rows):
    boot, workload = rows.ready_for_seed_series()
    both = await submit(http, [boot, workload])
    alone = await submit(http, [boot])
    kept = await runs_of(http, both["code"])

    refused = await http.delete(f"{TRACES}/{boot}")
    preview = (await http.delete(f"{TRACES}/{boot}", params={"dry_run": True})).json()
    answer = (await http.delete(f"{TRACES}/{boot}", params={"cascade": True})).json()

    assert refused.status_code == 409
    assert both["code"] in refused.json()["detail"]
    assert answer == preview | {"deleted": True}
    assert answer["batches"] == [alone["code"]]
    assert answer["shortened_batches"] == [both["code"]]
    assert answer["run_count"] == both["progress"]["total"] // 2 + alone["progress"]["total"]
    assert answer["result_count"] > 0
    assert (await http.get(f"/api/v1/batches/{alone['code']}")).status_code == 404
    left = (await http.get(f"/api/v1/batches/{both['code']}")).json()
    assert [trace["digest"] for trace in left["traces"]] == [workload]
    assert left["progress"]["total"] == left["progress"]["done"] == both["progress"]["total"] // 2
    assert await runs_of(http, both["code"]) == [
        run for run in kept if run["trace_digest"] == workload
    ]
    assert (await http.get(f"/api/v1/comparisons/{both['code']}.txt")).status_code == 200
    with transaction(rows.engine) as session:
        digests = set(session.scalars(sa.select(Result.trace_digest)))
    assert digests == {workload}


async def test_a_trace_of_a_batch_under_way_stays_even_on_request(http, rows):
    rows.register_simulator()
    digest = rows.add_trace("boot")
    await submit(http, [digest])

    answer = await http.delete(f"{TRACES}/{digest}", params={"cascade": True})

    assert answer.status_code == 409
    assert "not over" in answer.json()["detail"]
    with transaction(rows.engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Batch)) == 1


async def test_file_and_results_stay_while_another_project_has_the_trace_and_nobody_is_told(
    http, rows
):
    trace = (await http.post(TRACES, content=GOOD)).json()
    with transaction(rows.engine) as session:
        session.add(Project(id=OTHER, name="other"))
        row = session.scalars(sa.select(Trace)).one()
        columns = {name: getattr(row, name) for name in Trace.__table__.columns.keys()}  # noqa: SIM118
    with transaction(rows.engine, OTHER) as session:
        traces.add(session, **{key: columns[key] for key in columns.keys() - {"id", "project_id"}})

    answer = (await http.delete(f"{TRACES}/{trace['id']}")).json()

    assert (answer["blob"], answer["size_bytes"]) == (True, len(GOOD))
    (file,) = rows.files()
    assert hashlib.sha256(file.read_bytes()).hexdigest() == trace["digest"]


async def test_a_retention_rule_deletes_what_is_old_unused_and_not_kept(site, http, rows, caplog):
    rows.register_simulator()
    for name, tags in (("old", []), ("kept", ["keep"]), ("used", [])):
        rows.add_trace(name, tags=tags)
    await submit(http, [digest_of("used")])
    with transaction(rows.engine) as session:
        past = sa.func.now() - sa.text("interval '8 days'")
        session.execute(sa.update(Trace).values(updated_at=past))
    rows.add_trace("new")
    resources = site.api.state.resources
    caplog.set_level(logging.INFO, "refault.api")

    housekeeping.tidy_up(resources)
    assert sorted(await names(http)) == ["kept", "new", "old", "used"]
    assert (await http.get("/api/v1/retention")).json() == {"days": None}
    assert (await http.put("/api/v1/retention", json={"days": 0})).status_code == 422
    assert (await http.put("/api/v1/retention", json={"days": 7})).json() == {"days": 7}
    assert (await http.get("/api/v1/retention")).json() == {"days": 7}
    housekeeping.tidy_up(resources)

    assert sorted(await names(http)) == ["kept", "new", "used"]
    assert "retention: trace old" in caplog.text
