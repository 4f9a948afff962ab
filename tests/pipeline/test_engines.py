"""Two engines in one batch: submitted by the command line, computed by real workers, compared."""

import pytest

from refault.cli.exits import ExitCode
from refault.engines import ENGINES
from tests.cli.running import run
from tests.fixtures.stack import DEMO_TRACES

TRACE = DEMO_TRACES / "linux61-workload-1cpu.rft"


@pytest.fixture
def refault(stack, tmp_path):
    """The command as a program, with this service's address."""
    given = {"REFAULT_URL": stack.url, "REFAULT_TOKEN": stack.token}
    return lambda *options: run(tmp_path, *options, **given)


def test_base_and_walk_in_one_batch_give_one_comparison(stack, client, refault):
    digest = client.upload_trace(TRACE).trace["digest"]
    submitted = refault("submit", digest, "-p", "base", "-p", "walk", "--wait", "--json")
    assert submitted.returncode == ExitCode.OK, submitted.stderr

    [batch] = client.list_batches()["items"]
    digests = {name: ENGINES[name].digest for name in ("shadow", "walk")}
    assert batch["state"] == "done"
    assert (batch["simulators"], batch["is_stale"]) == (digests, False)
    columns = client.get_batch(batch["code"])["columns"]
    assert [column["variant"]["engine"] for column in columns] == ["shadow", "walk"]

    [comparison] = client.comparison(batch["code"])["comparisons"]
    assert comparison["simulators"] == digests
    assert [column["engine"] for column in comparison["columns"]] == ["shadow", "walk"]
    assert [column["verdict"]["name"] for column in comparison["columns"]][1] == "witnessed"
    exits = next(row for row in comparison["counters"] if row["name"] == "exits")
    assert exits["values"][0] > 0
    assert exits["values"][1:] == exits["changes"][1:] == [None]

    again = client.submit_batch([digest], [entry["id"] for entry in batch["patch_sets"]])
    assert (again["state"], again["progress"]["cached"]) == ("done", 2)
    assert client.list_bases()["items"][-1]["engine"] == "walk"
    for run_document in client.list_runs(batch["code"])["items"]:
        found = client.get_run(run_document["id"])
        assert found["simulator_digest"] == digests[found["variant"]["engine"]]
        assert found["result"]["simulator_digest"] == found["simulator_digest"]
        assert not found["is_stale"]
