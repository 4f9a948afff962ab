"""Questions asked of a running service: by the command line, answered by real workers."""

import os
import signal

import pytest
import sqlalchemy as sa

from refault.audits import AuditReport, Level
from refault.catalogue import patch_set_from_text, resolve
from refault.cli.exits import ExitCode
from refault.engines.audit import auditing
from refault.questions import Question
from refault.replay.compile.cache import cache_folder
from tests.cli.running import run
from tests.fixtures.stack import DEMO_TRACES
from tests.patience import eventually

TRACE = DEMO_TRACES / "linux61-workload-1cpu.rft"


@pytest.fixture
def refault(stack, tmp_path):
    """The command as a program, with this service's address."""
    given = {"REFAULT_URL": stack.url, "REFAULT_TOKEN": stack.token}
    given["REFAULT_CACHE"] = str(cache_folder())
    return lambda *options: run(tmp_path, *options, **given)


def test_a_worker_shows_what_the_command_shows_here(client, refault):
    digest = client.upload_trace(TRACE).trace["digest"]
    options = ("-v", "p3", "--at-operation", "400000", "--gva", "0xffffffff81158000")
    there = refault("inspect", TRACE, *options, "--service")
    assert there.returncode == ExitCode.OK, there.stderr
    here = refault("inspect", TRACE, *options)
    named = here.stdout.replace(TRACE.name, digest[:12], 1)
    # Up to the rule below the title, which is as long as it, and the command.
    assert there.stdout.splitlines()[2:-4] == named.splitlines()[2:-4]

    differ = refault(
        "diverge", "linux61-workload-1cpu", "base", "series", "--service", "--on", "exits"
    )
    assert differ.returncode == ExitCode.ANSWER_IS_NO, differ.stderr
    assert "B - A is +938" in differ.stdout


def test_a_batch_is_audited_and_its_verdict_waits_for_it(client, refault):
    digest = client.upload_trace(TRACE).trace["digest"]
    done = refault("submit", digest, "-p", "base", "-p", "p4r", "--audit", "flush", "--wait")
    assert done.returncode == ExitCode.OK, done.stderr
    [batch] = client.list_batches()["items"]
    found = client.get_batch(batch["code"])
    assert found["audits"] == {"level": "flush", "total": 2, "done": 2, "failed": 0}
    [comparison] = client.comparison(batch["code"])["comparisons"]
    variants = [resolve(patch_set_from_text(name)) for name in ("base", "p4r")]
    expected = auditing.audit(TRACE, variants, Level("flush"))
    reports = comparison["audit"]["reports"]
    assert [AuditReport.from_dict(report) for report in reports] == expected


def test_a_process_that_is_killed_costs_a_delay_and_nothing_else(stack, client, long_capture):
    digest = client.upload_trace(long_capture).trace["digest"]
    asked = client.ask(Question(Level("flush")), digest, "series")

    def runs():
        return client.get_question(asked["id"])["state"] == "running"

    eventually(runs, "a worker at the question")
    with stack.engine.connect() as connection:
        # Of this one: the verification of the upload may run beside it.
        query = sa.text("SELECT worker_pid FROM questions WHERE id = :id AND state = 'running'")
        pid = connection.scalar(query, {"id": asked["id"]})
    os.kill(pid, signal.SIGKILL)
    found = client.wait_for_question(asked["id"])
    assert (found["state"], found["attempt"]) == ("done", 2)
    assert AuditReport.from_dict(found["answer"]).failed
