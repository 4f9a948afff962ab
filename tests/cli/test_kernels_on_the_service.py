"""``refault kernel push`` and ``submit --kernel`` against the service itself."""

import json
from functools import partial

import pytest

from db.blobs import open_store
from db.repositories import simulators
from refault.client import Client
from tests.builders import digest_of, transaction
from tests.cli.running import run_here
from tests.fixtures.api import SIMULATOR
from tests.fixtures.kernels import Builder, mails, pack


@pytest.fixture
def api_settings(api_settings):
    return api_settings.model_copy(update={"builds": True})


@pytest.fixture
def refault(live, token, tmp_path, monkeypatch):
    return partial(run_here, monkeypatch, tmp_path, REFAULT_URL=live, REFAULT_TOKEN=token)


@pytest.fixture
def client(live, token):
    with Client(live, token=token) as client:
        yield client


@pytest.fixture
def builder(rows, api_settings):
    return Builder(rows.engine, open_store(api_settings.blobs))


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "mine.tar.xz"
    path.write_bytes(pack())
    return path


@pytest.fixture
def series(tmp_path):
    path = tmp_path / "series.mbox"
    path.write_bytes(mails("Zap less", "Flush less"))
    return path


def test_a_tree_and_a_series_become_a_kernel_and_a_batch_on_it(
    refault, client, rows, builder, packed, series
):
    trace = rows.add_trace("boot")
    with transaction(rows.engine) as session:
        engines = {"shadow": SIMULATOR, "kernel": digest_of("engine")}
        simulators.register(
            session, name="w", simulators=engines, semantics_version=1, host="h", pid=1
        )

    pushed = refault("kernel", "push", packed, "--name", "mine", "--mail", series)
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.splitlines()[0] == "kernel:mine: Linux 6.12.43, its tree uploaded"
    assert "no worker of the service builds kernels now" in pushed.stderr
    for numbers in ((), (1,)):
        builder.finish("mine", numbers)
    builder.finish("mine", (1, 2), refusal="does not apply at arch/x86/kvm/mmu/mmu.c:3")

    again = refault("kernel", "push", packed, "--name", "mine", "--mail", series, "--wait")
    submitted = refault("submit", trace, "--kernel", "mine", "--plan", "series", "-p", "base")

    assert again.returncode == 1
    assert "its tree already there" in again.stdout
    assert "mine+1..2: refused: does not apply at arch/x86/kvm/mmu/mmu.c:3" in again.stdout
    assert submitted.returncode == 0, submitted.stderr
    assert "left out: mine+1..2: does not apply" in submitted.stderr
    [batch] = client.list_batches()["items"]
    columns = client.get_batch(batch["code"])["columns"]
    assert [column["variant"]["engine"] for column in columns] == ["kernel", "kernel", "shadow"]

    shown = refault("kernel", "show", "mine", "--service").stdout
    listed = json.loads(refault("kernel", "list", "--service", "--json").stdout)
    kept = refault("kernel", "remove", "mine", "--service")
    client.cancel_batch(batch["code"])
    gone = refault("kernel", "remove", "mine", "--service")

    assert "Zap less" in shown
    assert "10 of 10 accesses as the guests saw them" in shown
    assert [entry["name"] for entry in listed] == ["mine"]
    assert kept.returncode == 4
    assert batch["code"] in kept.stderr
    assert gone.stdout == "removed from the service: mine\n"
    assert client.list_kernels()["items"] == []


def test_what_a_worker_could_not_do_has_no_verdict(refault, builder, packed):
    refault("kernel", "push", packed, "--name", "mine")
    builder.fail("mine")

    shown = refault("kernel", "show", "mine", "--service")

    assert "failed: the worker ended three times" in shown.stdout


def test_a_file_that_is_no_tree_is_refused_here(refault, tmp_path):
    path = tmp_path / "mine.tar.xz"
    path.write_bytes(b"nothing")

    told = refault("kernel", "push", path)

    assert told.returncode == 2
    assert "cannot be unpacked" in told.stderr
