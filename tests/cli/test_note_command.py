import json
from functools import partial

import pytest

from refault.client import Client
from tests.cli.running import run_here
from tests.fixtures.api import SERIES


@pytest.fixture
def refault(live, token, tmp_path, monkeypatch):
    return partial(run_here, monkeypatch, tmp_path, REFAULT_URL=live, REFAULT_TOKEN=token)


def test_notes_are_pinned_listed_changed_and_deleted(refault, live, token, rows):
    digests = rows.ready_for_seed_series()
    with Client(live, token=token) as client:
        row = client.create_patch_set(SERIES["name"], base="v2.6.34-pre", patches=SERIES["patches"])
        code = client.submit_batch(digests, [row["id"]], plan="series")["code"]

    added = refault("note", "add", f"{code}/linux61-boot-1cpu/1-3", "the faults\nare known")
    on_patch = refault("note", "add", "zap-account", "merge it", "--patch", "--json")
    listed = refault("note", "list", code)

    assert added.returncode == 0, added.stderr
    assert f"{code}: 1-3 on linux61-boot-1cpu" in added.stdout
    assert listed.stdout == added.stdout
    assert listed.stdout.splitlines()[1:] == ["  the faults", "  are known"]
    [note] = json.loads(on_patch.stdout)
    assert note["patch"] == "zap-account"
    assert "later" in refault("note", "edit", note["id"], "later").stdout
    assert refault("note", "delete", note["id"]).stdout == f"deleted {note['id']}\n"
    left = json.loads(refault("note", "list", "--json").stdout)
    assert [each["batch"] for each in left] == [code]
    assert refault("note", "add", "zap-acount", "x", "--patch").returncode == 2
