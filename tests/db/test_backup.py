import dataclasses
import hashlib
import json
import os
import subprocess
import sys

import pytest
import sqlalchemy as sa

from db import backup, revisions, schema, verify
from db.blobs import FolderStore
from db.manifest import BackupError, Manifest
from db.models import FIRST_PROJECT, Base
from db.repositories import patch_sets, requests, results
from db.session import create_engine, transaction
from refault import catalogue
from services.api.app import create_api
from services.api.settings import Settings
from services.api.site import Site
from tests.builders import put_blob, seed_series_columns, write_result
from tests.fixtures.api import NO_BROKER, SERIES, SIMULATOR, Rows, in_process, trace_bytes

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sound(api_settings, rows, http):
    """An installation with two traces, results of one, a batch that is over and one that waits.

    Answers the code of the one that is over.
    """
    rows.register_simulator()
    digests = []
    for name in ("first", "second"):
        answer = await http.post("/api/v1/traces", content=trace_bytes(name=name))
        digests.append(answer.json()["digest"])
    know(rows, digests[0])
    chosen = (await http.post("/api/v1/patch_sets", json=SERIES)).json()["id"]
    body = {"traces": [digests[0]], "patch_sets": [chosen], "plan": "series"}
    done = (await http.post("/api/v1/batches", json=body)).json()
    assert done["state"] == "done"
    body = {"traces": [digests[1]], "patch_sets": [chosen], "plan": "each"}
    await http.post("/api/v1/batches", json=body, headers={"idempotency-key": "k1"})
    with transaction(rows.engine, FIRST_PROJECT) as session:
        requests.claim(session, "k2", "POST /x")
    return done["code"]


def know(rows, digest):
    """Results of the seed series on an uploaded trace."""
    series = catalogue.prefixes(catalogue.PatchSet(patches=catalogue.SEED_SERIES))
    columns = seed_series_columns("linux61-boot-1cpu")
    with transaction(rows.engine) as session:
        for column, prefix in zip(columns, series, strict=True):
            patch_sets.add_variant(session, catalogue.resolve(prefix))
            result = dataclasses.replace(
                column.result, trace_digest=digest, simulator_digest=SIMULATOR
            )
            write_result(
                session,
                results.Outcome(result.variant_digest, result),
                trace_digest=digest,
                simulator_digest=SIMULATOR,
                worker="worker",
            )


def counts(engine):
    with engine.connect() as connection:
        return {
            table.name: connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in Base.metadata.sorted_tables
        }


@pytest.fixture
def second(empty_database_url, tmp_path):
    engine = create_engine(empty_database_url)
    yield Rows(engine, tmp_path / "second")
    engine.dispose()


async def comparisons_of(url, blobs, code, token):
    api = create_api(Settings(database_url=url, broker_url=NO_BROKER, blobs=blobs))
    async with in_process(Site(api, None), token) as http:
        answers = [
            await http.get(f"/api/v1/comparisons/{code}.{form}")
            for form in ("json", "txt", "csv", "md")
        ]
    api.state.resources.close()
    assert {answer.status_code for answer in answers} == {200}
    return [answer.content for answer in answers]


async def test_a_restored_database_gives_the_same_comparisons_byte_for_byte(
    sound, rows, token, api_settings, second, empty_database_url, tmp_path
):
    folder = tmp_path / "backup"
    before = await comparisons_of(api_settings.database_url, api_settings.blobs, sound, token)
    backup.write(rows.engine, FolderStore(api_settings.blobs), folder)
    backup.restore(second.engine, FolderStore(second.blobs), folder)
    assert await comparisons_of(empty_database_url, second.blobs, sound, token) == before
    assert counts(second.engine) == counts(rows.engine)
    assert counts(second.engine)["batch_events"] > 0
    assert counts(second.engine)["idempotency_keys"] == 2


async def test_a_restored_installation_goes_on_counting_where_the_other_was(
    sound, rows, token, api_settings, second, empty_database_url, tmp_path
):
    backup.write(rows.engine, FolderStore(api_settings.blobs), tmp_path / "b")
    backup.restore(second.engine, FolderStore(second.blobs), tmp_path / "b")
    settings = Settings(database_url=empty_database_url, broker_url=NO_BROKER, blobs=second.blobs)
    api = create_api(settings)
    async with in_process(Site(api, None), token) as http:
        batches = (await http.get("/api/v1/batches")).json()["items"]
        body = {
            "traces": [batches[0]["traces"][0]["digest"]],
            "patch_sets": [batches[0]["patch_sets"][0]["id"]],
            "plan": "series",
        }
        answer = await http.post("/api/v1/batches", json=body)
    api.state.resources.close()
    assert answer.status_code == 201, answer.text
    with second.engine.connect() as connection:
        query = "SELECT count(*), count(DISTINCT id) FROM batch_events"
        row = connection.execute(sa.text(query)).one()
    assert row[0] == row[1] > counts(rows.engine)["batch_events"]


async def test_the_installation_that_is_backed_up_has_rows_in_the_tables_that_matter(sound, rows):
    empty = {name for name, number in counts(rows.engine).items() if number == 0}
    assert not {"traces", "batches", "runs", "results", "batch_events", "audit"} & empty


async def test_a_sound_installation_verifies(sound, rows, api_settings):
    assert list(verify.live(rows.engine, FolderStore(api_settings.blobs), quiet)) == []


def quiet(what, done, total):
    assert done <= total


DAMAGE = {
    "UPDATE results SET body = jsonb_set(body, '{event_count}', '1')": "does not have the digest",
    "UPDATE results SET body = '{}'": "is not a result",
    "UPDATE batches SET failed_count = 1, done_count = done_count - 1, cached_count = 0"
    " WHERE state = 'done'": "its runs say",
    "UPDATE runs SET shard_id = NULL WHERE state = 'queued'": "is queued in no shard",
    "UPDATE shards SET state = 'failed' WHERE state = 'queued'": "in a shard that is failed",
    "UPDATE results SET variant_digest = overlay(variant_digest placing '0000000000' from 1)": (
        "of a variant that does not exist"
    ),
    "UPDATE traces SET size_bytes = 1": "its row says 1 bytes",
}


@pytest.mark.parametrize("statement", DAMAGE)
async def test_what_is_wrong_with_rows_is_named(sound, rows, api_settings, statement):
    with transaction(rows.engine) as session:
        session.execute(sa.text(statement))
    found = list(verify.live(rows.engine, FolderStore(api_settings.blobs), quiet))
    assert any(DAMAGE[statement] in sentence for sentence in found), found


async def test_an_old_blob_of_no_trace_is_named_and_a_young_one_is_not(sound, rows, api_settings):
    store = FolderStore(api_settings.blobs)
    digest = put_blob(store, b"nobody knows me")
    assert list(verify.live(rows.engine, store, quiet)) == []
    os.utime(store.path(digest), (0, 0))

    found = list(verify.live(rows.engine, store, quiet))

    assert found == [f"blob {digest} is needed by nothing: remove it if no other database needs it"]


async def test_a_missing_and_a_changed_blob_are_named(sound, rows, api_settings):
    store = FolderStore(api_settings.blobs)
    first, second, *_ = sorted(rows.files())
    first.unlink()
    data = second.read_bytes()
    second.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    found = list(verify.live(rows.engine, store, quiet))
    assert len(found) == 2
    assert any(first.name[:12] in line and "has no blob" in line for line in found)
    assert any(
        (second.name[:12] in line and "not those of its name" in line) or "sha256" in line
        for line in found
    )


@pytest.fixture
def made(sound, rows, api_settings, tmp_path):
    folder = tmp_path / "backup"
    # Copied, so that damage to the backup leaves the installation alone.
    backup.write(rows.engine, FolderStore(api_settings.blobs), folder, copy_blobs=True)
    return folder


def flip_in(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def a_blob(folder):
    return next(path for path in sorted((folder / "blobs").rglob("*")) if path.is_file())


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (lambda folder: flip_in(folder / "database.tar"), "database.tar is damaged"),
        (lambda folder: (folder / "database.tar").unlink(), "database.tar is missing"),
        (lambda folder: flip_in(a_blob(folder)), "its sha256 is not its name"),
        (lambda folder: a_blob(folder).unlink(), "is missing from"),
        (lambda folder: (folder / "manifest.json").unlink(), "no manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json is damaged"),
        (
            lambda folder: (folder / "manifest.json").write_text(
                (folder / "manifest.json").read_text().replace('"row_count": 44', '"row_count": 45')
            ),
            "manifest.json is damaged",
        ),
    ],
)
async def test_a_damaged_backup_is_refused_by_name_and_changes_nothing(made, second, damage, name):
    backup.check(made)
    damage(made)
    with pytest.raises(BackupError, match=name):
        backup.check(made)
    with pytest.raises(BackupError, match=name):
        backup.restore(second.engine, FolderStore(second.blobs), made)
    assert sa.inspect(second.engine).get_table_names() == []
    assert not second.files()


async def test_a_database_with_rows_is_not_restored_into(made, rows, api_settings):
    before = counts(rows.engine)
    with pytest.raises(BackupError, match="not empty"):
        backup.restore(rows.engine, FolderStore(api_settings.blobs), made)
    assert counts(rows.engine) == before


async def test_a_database_at_another_migration_is_not_restored_into(made, second):
    schema.upgrade(second.engine, "0001")
    with pytest.raises(BackupError, match=r"migration 0001 .* without tables"):
        backup.restore(second.engine, FolderStore(second.blobs), made)


async def test_a_backup_of_a_newer_release_is_refused(made, second):
    manifest = Manifest.read(made)
    newer = Manifest(**(vars(manifest) | {"revision": "9999"}))
    (made / "manifest.json").unlink()
    (made / "manifest.json").write_text(
        Manifest(**(vars(newer) | {"tables": manifest.tables})).to_text()
    )
    with pytest.raises(BackupError, match="does not know"):
        backup.restore(second.engine, FolderStore(second.blobs), made)


async def test_a_database_behind_this_release_is_not_backed_up(rows, api_settings, tmp_path):
    with transaction(rows.engine) as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(BackupError, match="python -m db upgrade"):
        backup.write(rows.engine, FolderStore(api_settings.blobs), tmp_path / "b")


async def test_a_trace_without_its_file_makes_no_backup(sound, rows, api_settings, tmp_path):
    rows.files()[0].unlink()
    with pytest.raises(BackupError, match="is missing"):
        backup.write(rows.engine, FolderStore(api_settings.blobs), tmp_path / "b")
    assert not (tmp_path / "b" / "manifest.json").exists()


async def test_the_tables_are_those_of_one_moment(sound, rows, api_settings, second, tmp_path):
    """A trace that arrives while the tables are copied is in none of them."""
    late = trace_bytes(name="late")

    def arrive(what, done, total):
        if (what, done) == ("tables", 1):
            put_blob(FolderStore(api_settings.blobs), late)
            rows.add_trace("late", digest=hashlib.sha256(late).hexdigest())

    before = counts(rows.engine)
    backup.write(rows.engine, FolderStore(api_settings.blobs), tmp_path / "b", progress=arrive)
    backup.restore(second.engine, FolderStore(second.blobs), tmp_path / "b")
    assert counts(second.engine) == before
    assert counts(rows.engine)["traces"] == before["traces"] + 1


def run_db(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "db", *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_the_commands_do_it_and_say_so_with_exit_codes(
    sound, rows, api_settings, empty_database_url, tmp_path
):
    old = {
        "REFAULT_DATABASE_URL": api_settings.database_url,
        "REFAULT_BLOBS": str(api_settings.blobs),
    }
    new = {
        "REFAULT_DATABASE_URL": empty_database_url,
        "REFAULT_BLOBS": str(tmp_path / "new"),
    }
    folder = tmp_path / "b"
    for arguments, environment, word in (
        (("backup", str(folder)), old, "written: "),
        (("verify", "--backup", str(folder)), {}, "sound: "),
        (("restore", str(folder)), new, "restored: "),
        (("verify",), new, "sound"),
    ):
        done = run_db(*arguments, **environment)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert done.stdout.startswith(word)
    assert (folder.stat().st_mode & 0o777) == 0o700
    again = run_db("restore", str(folder), **new)
    assert again.returncode == 1
    assert "not empty" in again.stderr
    assert "Traceback" not in again.stderr
    next(path for path in (tmp_path / "new").glob("??/*")).unlink()
    wrong = run_db("verify", **new)
    assert wrong.returncode == 1
    assert "has no blob" in wrong.stdout
    assert "faults found: 1" in wrong.stdout
    assert run_db("backup", str(folder)).returncode == 2


def test_the_help_shows_examples_and_exit_codes():
    done = run_db("--help")
    assert "python -m db restore" in done.stdout
    assert "exit codes" in done.stdout


async def test_the_manifest_names_every_table_and_its_rows(made, rows):
    body = json.loads((made / "manifest.json").read_text())
    found = {entry["name"]: entry["row_count"] for entry in body["tables"]}
    assert found == counts(rows.engine)
    assert body["revision"] == revisions.head()
