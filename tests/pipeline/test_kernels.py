"""A tree and a mailbox of one's own through the whole service: built by workers, run, judged."""

import json
import os
import signal

import pytest

from refault.cli.exits import ExitCode
from tests.cli.running import run
from tests.fixtures.stack import DEMO_TRACES, running_stack
from tests.fixtures.trees import (
    X86,
    at_the_end,
    packed,
    without_flush_of_nothing,
    without_invalidation,
)
from tests.patience import eventually

RELEASE = "6.12"
TRACE = DEMO_TRACES / "linux61-workload-1cpu.rft"


@pytest.fixture
def stack(tmp_path, own_kernels):
    packed(RELEASE)
    settings = {"REFAULT_BUILDS": "true", "REFAULT_KERNELS": str(own_kernels)}
    with running_stack(tmp_path / "stack", settings) as started:
        yield started


@pytest.fixture
def refault(stack, tmp_path, own_kernels):
    """The command as a program, with this service's address."""
    given = {
        "REFAULT_URL": stack.url,
        "REFAULT_TOKEN": stack.token,
        "REFAULT_KERNELS": str(own_kernels),
    }
    return lambda *options: run(tmp_path, *options, **given)


@pytest.fixture
def mailbox(tmp_path, patch_of):
    """One patch that changes nothing, one that saves flushes, one that is unsound."""
    place = tmp_path / "series.mbox"
    patches = (
        *patch_of(RELEASE, ("Say more", at_the_end("/* more */"))),
        *patch_of(RELEASE, ("Flush less", without_flush_of_nothing), file=X86),
        *patch_of(RELEASE, ("INVLPG has nothing to do", without_invalidation)),
    )
    place.write_bytes(b"\n".join(patches))
    return place


def test_from_a_tree_and_a_mailbox_to_a_verdict_on_each_patch(stack, client, refault, mailbox):
    client.upload_trace(TRACE)
    submitted = refault(
        *("submit", "linux61-workload-1cpu", "--kernel", packed(RELEASE), "--kernel-name", "mine"),
        *("--mail", mailbox, "--plan", "series", "-p", "base", "--wait"),
    )
    assert submitted.returncode == ExitCode.ANSWER_IS_NO, submitted.stderr
    # The verdict names the patch by its title, and where it goes wrong first.
    said = " ".join(submitted.stdout.split())
    assert "Patch 3 (INVLPG has nothing to do) changes what the guest sees" in said
    assert "operation 8660 (event 8770), vcpu 0, gva 0x4aa1a0" in said
    [batch] = client.list_batches()["items"]
    assert batch["state"] == "done"
    document = client.comparison(batch["code"])
    titles = ["Say more", "Flush less", "INVLPG has nothing to do"]
    assert [step["patch_title"] for step in document["steps"]] == titles
    [comparison] = document["comparisons"]
    columns = {column["label"]: column for column in comparison["columns"]}
    verdicts = {label: column["verdict"]["name"] for label, column in columns.items()}
    assert verdicts == {
        "mine": "base",
        "mine+1": "identical",
        "mine+1..2": "improvement",
        "mine+1..3": "guest-visible-change",
        "base": "witnessed",
    }
    assert [column["engine"] for column in columns.values()] == [*["kernel"] * 4, "shadow"]
    assert columns["mine+1..2"]["reason"].startswith("tlb_flush -2.1%")
    finding = columns["mine+1..3"]["findings"][0]
    assert finding["operation_index"] == 8660
    assert finding["gva"]

    kernel = client.get_kernel("mine")
    assert [build["state"] for build in kernel["builds"]] == ["built"] * 4
    assert [build["changes_nothing"] for build in kernel["builds"][1:]] == [True, False, False]
    assert kernel["builds"][0]["check"] == "2,936,808 of 2,936,808 accesses as on the real guests"

    # The same bytes as on the user's own machine, where the same program was built.
    text = kernel["builds"][2]["text"]
    here = refault("replay", TRACE, "-v", text, "--json")
    assert here.returncode == ExitCode.OK, here.stderr
    [mine] = json.loads(here.stdout)
    assert mine["columns"][0]["result_digest"] == columns["mine+1..2"]["result_digest"]


def test_a_builder_that_is_killed_costs_a_delay_and_nothing_else(stack, client, refault, mailbox):
    pushed = refault(
        *("kernel", "push", packed(RELEASE), "--name", "killed", "--mail", mailbox, "--sanitize")
    )
    assert pushed.returncode == ExitCode.OK, pushed.stderr

    def running():
        found = client.get_kernel("killed")["builds"]
        return next((build for build in found if build["state"] == "running"), None)

    build = eventually(running, "a build runs")
    number = int(build["worker"].split("-")[-2])
    os.kill(number, signal.SIGKILL)
    eventually(lambda: client.get_kernel("killed")["state"] == "done", "all is built")
    builds = client.get_kernel("killed")["builds"]
    assert {each["state"] for each in builds} == {"built"}
    assert any(each["attempt"] > 1 for each in builds)
