import json
from functools import partial

import pytest

from refault.client import Client
from refault.errors import Refused
from tests.cli.running import run_here
from tests.fixtures.api import PASSWORD, trace_bytes


@pytest.fixture
def refault(live, token, tmp_path, monkeypatch):
    return partial(run_here, monkeypatch, tmp_path, REFAULT_URL=live, REFAULT_TOKEN=token)


@pytest.fixture
def client(live, token):
    with Client(live, token=token) as client:
        yield client


def test_tokens_are_made_by_people_listed_and_revoked(refault, live, rows):
    rows.add_user("anna", "maintainer")
    words = ("token", "make", "laptop", "--user", "anna", "--password", PASSWORD)

    made = json.loads(refault(*words, "--scope", "read", "--scope", "submit", "--json").stdout)
    assert made["scopes"] == ["read", "submit"]
    with Client(live, token=made["secret"]) as program:
        assert program.get_me()["user"] == "anna"
    listed = refault("token", "list")
    assert "laptop" in listed.stdout
    assert made["secret"] not in listed.stdout
    wrong = refault("token", "revoke", "labtop")
    assert wrong.returncode != 0
    assert "did you mean laptop?" in wrong.stderr
    assert refault("token", "revoke", "laptop").stdout == f"revoked {made['id']}\n"
    with (
        Client(live, token=made["secret"]) as program,
        pytest.raises(Refused, match="expired or revoked"),
    ):
        program.get_me()
    states = {each["name"]: each["revoked_at"] for each in json.loads(
        refault("token", "list", "--json").stdout
    )}  # fmt: skip
    assert states["laptop"] is not None


def test_a_mistyped_scope_role_or_member_is_met_with_the_nearest(refault, rows):
    rows.add_user("anna", "viewer")

    scope = refault("token", "make", "x", "--user", "anna", "--password", "y", "--scope", "raed")
    role = refault("member", "set", "anna", "contributer")
    member = refault("member", "remove", "ana")

    assert "no scope 'raed' (did you mean read?)" in scope.stderr
    assert "no role 'contributer' (did you mean contributor?)" in role.stderr
    assert "no member 'ana' (did you mean anna?)" in member.stderr


def test_members_are_added_changed_listed_and_removed(refault, rows):
    rows.add_user("otto")

    assert refault("member", "add", "otto").stdout == "otto is contributor\n"
    again = refault("member", "add", "otto", "viewer")
    assert again.returncode == 2
    assert "refault member set otto viewer" in again.stderr
    assert json.loads(refault("member", "set", "otto", "viewer", "--json").stdout) == {
        "user": "otto", "role": "viewer",
    }  # fmt: skip
    assert refault("member", "list").stdout.splitlines()[1].split()[:2] == ["otto", "viewer"]
    assert refault("member", "remove", "otto").returncode == 0
    assert json.loads(refault("member", "list", "--json").stdout) == []


def test_a_trace_is_edited_downloaded_and_deleted(refault, client, tmp_path):
    file = tmp_path / "boot.rft"
    file.write_bytes(trace_bytes())
    digest = client.upload_trace(file).trace["digest"]

    edited = refault("traces", "edit", "boot", "--name", "other", "--tag", "keep", "--note", "mine")
    assert edited.stdout.split() == ["name", "other", "note", "mine", "tags", "keep"]
    assert refault("traces", "edit", "other").returncode == 2
    refault("traces", "edit", "other", "--no-tags")
    assert client.get_trace(digest)["tags"] == []
    target = tmp_path / "there" / "copy.rft"
    answer = refault("traces", "download", "other", "-o", target, "--json")
    assert json.loads(answer.stdout) == {"file": str(target), "digest": digest}
    assert target.read_bytes() == file.read_bytes()

    shown = refault("traces", "delete", "other")
    assert "would delete" in shown.stdout
    assert "add --yes" in shown.stdout
    assert client.get_trace(digest)["name"] == "other"
    assert "deleted" in refault("traces", "delete", "other", "--yes").stdout
    assert client.list_traces()["items"] == []


def test_usage_is_told_beside_the_quota(refault, client, tmp_path):
    file = tmp_path / "boot.rft"
    file.write_bytes(trace_bytes())
    client.upload_trace(file)

    table = [line.split() for line in refault("usage").stdout.splitlines()]
    told = json.loads(refault("usage", "--json").stdout)

    assert ["traces", "1", "0", "none"] in table
    assert told == client.get_usage()
    assert told["bytes"]["used"] == file.stat().st_size
