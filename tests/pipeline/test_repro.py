"""``refault repro`` against a result that a real worker of the real service has computed."""

import json

import pytest
import sqlalchemy as sa

from db.models import Result, Run
from db.session import transaction
from refault.catalogue import resolve
from refault.cli.exits import ExitCode
from refault.client import Client
from refault.profile import gathering
from refault.replay.compile.cache import cache_folder
from tests.cli.running import run
from tests.fixtures.stack import DEMO_TRACES
from tests.pipeline.watched import Watched


@pytest.fixture(scope="module")
def watched(stack):
    with Client(stack.url, token=stack.token) as client:
        watched = Watched(stack, client, DEMO_TRACES / "linux61-workload-1cpu.rft")
        assert watched.submit().wait_until_over()["state"] == "done"
        yield watched


@pytest.fixture
def cell(watched):
    return str(watched.rows(Run)[-1].id)


@pytest.fixture
def repro(stack, cell, tmp_path):
    """The command as a program, with this service's address and the kernels of the other tests."""
    given = {
        "REFAULT_URL": stack.url,
        "REFAULT_TOKEN": stack.token,
        "REFAULT_CACHE": str(cache_folder()),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    return lambda *options: run(tmp_path, "repro", cell, *options, **given)


@pytest.fixture
def tampered(stack, watched, cell):
    """Changes columns of the stored result, and puts back what was there."""
    [stored] = [row for row in watched.rows(Run) if str(row.id) == cell]
    of_cell = Result.id == stored.result_id
    with transaction(stack.engine) as session:
        before = session.execute(sa.select(Result.body, Result.body_digest).where(of_cell)).one()

    def tamper(**values):
        with transaction(stack.engine) as session:
            session.execute(sa.update(Result).where(of_cell).values(**values))

    tamper.before = before
    yield tamper
    tamper(body=before.body, body_digest=before.body_digest)


def test_a_workers_result_is_the_same_here_and_the_exit_code_is_0(repro, watched, cell):
    answer = repro()
    document = json.loads(repro("--trace", watched.trace, "--json").stdout)

    digest = watched.client.get_run(cell)["result_digest"]
    assert (answer.returncode, answer.stdout) == (ExitCode.OK, f"same: {digest}\n")
    assert document["same"] is True
    assert document["theirs"] == document["here"] == digest
    assert document["differences"] == []


def test_a_digest_changed_in_the_database_is_noticed_and_the_exit_code_is_1(repro, tampered):
    before = tampered.before
    tampered(body_digest="a" * 64)

    answer = repro()

    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert answer.stdout.startswith(f"different: {'a' * 12} there, {before.body_digest[:12]} here")
    assert f"result_digest: {'a' * 64} there, {before.body_digest} here (1 in all)" in answer.stdout


def test_a_counter_changed_in_the_database_is_named_and_the_exit_code_is_1(repro, tampered):
    before = tampered.before
    body = json.loads(json.dumps(before.body))
    body["counters"]["pf_fixed"] += 1
    tampered(body=body)

    answer = repro()

    there, here = body["counters"]["pf_fixed"], before.body["counters"]["pf_fixed"]
    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert f"first difference: counters.pf_fixed: {there} there, {here} here" in answer.stdout


def test_a_workers_documents_are_the_ones_made_here(watched, cell):
    run = watched.client.get_run(cell)
    [variant] = [
        resolved
        for resolved in map(resolve, watched.wanted)
        if resolved.digest == run["variant"]["digest"]
    ]
    [here] = gathering.replay(watched.trace, [variant])
    assert watched.client.get_timeline(cell)["digest"] == here.timeline.digest
    assert watched.client.get_attribution(cell)["digest"] == here.attribution.digest
