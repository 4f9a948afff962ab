import json
import os
from functools import partial
from pathlib import Path

import pytest

from refault.cli.exits import ExitCode
from refault.client import Client
from refault.replay.compile.cache import cache_folder
from tests.api.test_batch_life import fail_what_waits
from tests.builders import digest_of
from tests.cli.running import run, run_here
from tests.fixtures.api import SERIES, trace_bytes


@pytest.fixture
def refault(live, token, tmp_path, monkeypatch):
    cache = os.environ.get("REFAULT_CACHE", str(cache_folder()))
    return partial(
        run_here, monkeypatch, tmp_path, REFAULT_URL=live, REFAULT_TOKEN=token, REFAULT_CACHE=cache
    )


@pytest.fixture
def client(live, token):
    with Client(live, token=token) as client:
        yield client


@pytest.fixture
def code(client, rows):
    digests = rows.ready_for_seed_series()
    row = client.create_patch_set(SERIES["name"], base="v2.6.34-pre", patches=SERIES["patches"])
    return client.submit_batch(digests, [row["id"]], plan="series")["code"]


def test_traces_are_listed_and_shown(refault, client, tmp_path):
    file = tmp_path / "boot.rft"
    file.write_bytes(trace_bytes())
    digest = client.upload_trace(file).trace["digest"]

    table = refault("traces", "list").stdout.splitlines()
    listed = json.loads(refault("traces", "list", "--json").stdout)
    shown = json.loads(refault("traces", "show", "boot", "--json").stdout)

    assert table[0].split()[:2] == ["digest", "name"]
    assert table[1].split()[:2] == [digest[:12], "boot"]
    assert listed == client.list_traces()["items"]
    assert shown == client.get_trace(digest)
    assert ["access", "2000"] in [
        line.split() for line in refault("traces", "show", file).stdout.splitlines()
    ]
    assert json.loads(refault("traces", "show", digest[:8], "--json").stdout) == shown


def test_two_traces_of_one_name_are_told_apart_by_digest(refault, client, tmp_path):
    for count in (10, 20):
        file = tmp_path / f"{count}.rft"
        file.write_bytes(trace_bytes(event_count=count))
        client.upload_trace(file, name="twin")

    answer = refault("traces", "show", "twin")

    assert answer.returncode == 2
    assert answer.stderr.startswith("refault: 2 matches for trace 'twin'; name one by its id: ")
    for trace in client.list_traces()["items"]:
        assert trace["digest"][:12] in answer.stderr


def test_a_file_that_was_never_uploaded_says_how_to(refault, tmp_path):
    file = tmp_path / "boot.rft"
    file.write_bytes(trace_bytes())

    answer = refault("submit", file, "-p", "base")

    assert answer.returncode == 2
    assert answer.stderr == f"refault: {file} is not on the service yet; run: refault push {file}\n"


def test_a_batch_is_submitted_watched_and_judged(refault, client, rows):
    rows.ready_for_seed_series()

    answer = refault(
        "submit", "linux61-boot-1cpu", "-p", "series", "--plan", "series", "--name", "S", "--wait"
    )

    (batch,) = client.list_batches()["items"]
    lines = answer.stdout.splitlines()
    assert answer.returncode == 1, answer.stderr
    assert lines[0] == f"{batch['code']}: done, 5 runs, 5 of them known"
    assert lines[1].endswith(f"/b/{batch['code'].removeprefix('b-')}")
    assert lines[2:4] == [
        f"{batch['code']}: done, 5 of 5 runs, 5 cached",
        "verdict: GUEST-VISIBLE CHANGE",
    ]
    assert batch["patch_sets"][0]["name"] == "S"
    assert answer.stderr == ""


def test_a_good_batch_ends_with_0(refault, client, rows):
    rows.ready_for_seed_series()

    answer = refault("submit", "linux61-boot-1cpu", "-p", "base", "-p", "p2", "--wait", "--json")

    verdict = json.loads(answer.stdout.splitlines()[-1])
    assert answer.returncode == 0, answer.stderr
    assert (verdict["verdict"], verdict["exit_code"]) == ("identical", 0)


def test_the_limits_of_the_project_decide_the_exit_code(refault, client, rows):
    (digest, *_) = rows.ready_for_seed_series()
    asked = ("-p", "base", "-p", "series", "--json")
    code = json.loads(refault("submit", digest, *asked).stdout)["code"]
    strict = refault("watch", code)
    limits = {name: {"permille": 500} for name in client.get_thresholds()["counters"]}

    client.set_thresholds(limits)
    generous = refault("watch", code)

    assert (strict.returncode, generous.returncode) == (1, 0), strict.stdout
    assert "verdict: mixed, worse on balance" in strict.stdout
    assert "verdict: improvement" in generous.stdout


def test_a_patch_set_of_the_service_is_found_by_its_name(refault, client, code):
    answer = refault("submit", "linux61-boot-1cpu", "--set", SERIES["name"], "--json")

    batch = json.loads(answer.stdout)
    assert answer.returncode == 0
    assert [entry["name"] for entry in batch["patch_sets"]] == [SERIES["name"]]


def test_watching_in_json_is_a_line_an_event_and_the_verdict_last(refault, code):
    answer = refault("watch", code, "--json")

    events = [json.loads(line) for line in answer.stdout.splitlines()]
    assert answer.returncode == 1
    assert [event.get("event") for event in events] == ["finished", None]
    assert events[-1]["verdict"] == "guest-visible-change"
    assert {column["column"] for column in events[-1]["columns"]} == {
        "1-2",
        "1-3",
        "1-4, 1-5",
        "1-6",
    }


def test_a_cancelled_batch_has_no_verdict(refault, client, rows):
    rows.register_simulator()
    row = client.create_patch_set("one", base="v2.6.34-pre", patches=["zap-account"])
    code = client.submit_batch([rows.add_trace("boot")], [row["id"]])["code"]

    cancelled = refault("batches", "cancel", code)
    watched = refault("watch", code)
    again = refault("batches", "cancel", code)

    assert cancelled.stdout == f"{code}: cancelled, 0 of 1 run done\n"
    assert watched.returncode == 5
    assert watched.stdout.startswith(f"{code}: cancelled, 0 of 1 run, 1 cancelled\n")
    assert again.returncode in {0, 4}


def test_batches_are_listed_and_shown_with_their_runs(refault, client, code):
    listed = refault("batches", "list").stdout.splitlines()
    shown = refault("batches", "show", code).stdout

    assert listed[1].split()[:3] == [code, "done", "10/10"]
    for run_ in client.list_runs(code)["items"]:
        assert run_["id"] in shown


def test_a_batch_says_how_many_of_its_failures_can_be_retried(refault, client, code, rows):
    first = client.get_batch(code)
    digests = [trace["digest"] for trace in first["traces"]]
    old = rows.add_trace("old guest", guest_mode="long5")
    sets = [first["patch_sets"][0]["id"]]
    failed = client.submit_batch([*digests, old], sets, plan="series")["code"]

    assert "can be retried" not in refault("batches", "show", code).stdout
    assert "5 failed, 0 of them can be retried" in refault("batches", "show", failed).stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("watch", "b-zzzz"), 4, "no batch b-zzzz: GET /api/v1/batches lists them"),
        (("traces", "show", "nothing"), 2, "no trace 'nothing': refault traces list"),
        (("submit", "x"), 2, "nothing to run: name a patch set by --patches or --set"),
        (("submit", "x", "-p", "base", "--plan", "all"), 2, "--plan all: expected one of each"),
        (("submit", "x", "-p", "nothing"), 2, "patch 'nothing' is not in the catalogue"),
    ],
)
def test_what_cannot_be_is_one_line_and_its_exit_code(refault, arguments, status, said):
    answer = refault(*arguments)

    assert answer.returncode == status
    assert answer.stdout == ""
    assert said in answer.stderr
    assert answer.stderr.startswith("refault: ")
    assert "Traceback" not in answer.stderr


MAIL = Path(__file__).parent / "expected" / "series.mail"


def test_the_mail_is_the_committed_one(refault, live, code):
    answer = refault("report", code, "--mail")

    text = answer.stdout.replace(code, "b-0000").replace(live, "http://refault.example")
    text = text.replace(f"/b/{code.removeprefix('b-')}", "/b/0000")
    assert answer.returncode == 1
    assert text == MAIL.read_text(encoding="utf-8")


def test_the_mail_fits_72_columns_of_plain_letters(refault, code):
    text = refault("report", code, "--mail").stdout

    assert max(map(len, text.splitlines())) <= 72
    assert text.isascii()
    for patch in SERIES["patches"]:
        assert patch in text
    assert digest_of("linux61-boot-1cpu")[:12] in text
    assert digest_of("simulator")[:12] in text


def test_a_report_without_more_is_the_whole_comparison(refault, client, code):
    assert refault("report", code).stdout == client.comparison_text(code)
    assert json.loads(refault("report", code, "--json").stdout)["outcome"]["exit_code"] == 1


def test_columns_of_two_batches_are_compared_on_the_traces_they_share(refault, client, code):
    row = client.create_patch_set("whole", base="v2.6.34-pre", patches=SERIES["patches"])
    other = client.submit_batch([digest_of("linux61-boot-1cpu")], [row["id"]])["code"]

    answer = refault("compare", f"{code}/1-2", f"{other}", "--json")

    (comparison,) = json.loads(answer.stdout)
    assert answer.returncode == 1, answer.stderr
    assert comparison["trace"]["name"] == "linux61-boot-1cpu"
    assert [column["label"] for column in comparison["columns"]] == [
        f"{code}/1-2",
        f"{other}/whole",
    ]
    exits = next(row for row in comparison["counters"] if row["name"] == "exits")
    assert exits["values"] == [96185, 114347]


@pytest.mark.parametrize("form", ["text", "md", "csv", "json"])
def test_a_batch_is_compared_in_every_format(refault, code, form):
    answer = refault("compare", code, "--format", form)

    assert answer.returncode == 1
    # What people read is grouped, what programs read is not.
    number = "+18,162" if form in {"text", "md"} else "114347"
    assert number in answer.stdout


def test_cells_runs_and_files_of_them_are_the_same_thing(refault, client, code, tmp_path):
    run_ = next(
        each
        for each in client.list_runs(code)["items"]
        if each["trace_digest"] == digest_of("linux61-boot-1cpu")
    )
    file = tmp_path / "kept.json"
    file.write_text(json.dumps(client.get_run(run_["id"])))

    by_file = refault("compare", run_["id"], file, "--json")
    by_name = refault("compare", f"{code}/linux61-boot-1cpu/1", run_["id"], "--json")

    assert by_file.returncode == by_name.returncode == 0, by_file.stderr + by_name.stderr
    (column,) = json.loads(by_file.stdout)[0]["columns"]
    assert column["labels"] == [run_["variant"]["text"], "kept"]
    assert len(json.loads(by_name.stdout)[0]["columns"]) == 1


def test_a_result_of_another_simulator_is_not_reproduced_unless_forced(refault, code):
    answer = refault("repro", f"{code}/linux61-boot-1cpu/1-6")

    assert answer.returncode == 2
    assert answer.stderr.startswith(
        f"refault: the result was made by simulator {digest_of('simulator')[:12]}, here is "
    )
    assert "--force" in answer.stderr


def test_a_forced_replay_names_the_first_counter_that_differs(live, token, client, rows, tmp_path):
    file = tmp_path / "made.rft"
    file.write_bytes(trace_bytes())
    digest = client.upload_trace(file).trace["digest"]
    rows.register_simulator()
    rows.know_base(digest)
    row = client.create_patch_set("none", base="v2.6.34-pre", patches=[])
    code = client.submit_batch([digest], [row["id"]])["code"]
    # Few events: to interpret them is quicker than to compile the simulator.
    given = {"REFAULT_URL": live, "REFAULT_TOKEN": token, "REFAULT_INTERPRETED": "1"}
    refault = partial(run, tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"), **given)

    answer = refault("repro", code, "--force")
    again = refault("repro", code, "--force", "--trace", file, "--json")

    kept = tmp_path / "cache" / "refault" / "traces" / f"{digest}.rft"
    assert answer.returncode == 1, answer.stderr
    assert "first difference: counters.pf_fixed: " in answer.stdout
    assert kept.read_bytes() == file.read_bytes()
    assert json.loads(again.stdout)["differences"][0]["place"] == "counters.pf_fixed"


def test_another_file_than_the_runs_trace_is_refused(refault, code, tmp_path):
    file = tmp_path / "other.rft"
    file.write_bytes(trace_bytes())

    answer = refault("repro", f"{code}/linux61-boot-1cpu/1-6", "--force", "--trace", file)

    assert answer.returncode == 2
    assert f"{file} has the digest " in answer.stderr


def test_a_dry_run_says_what_it_would_come_to_and_starts_nothing(refault, client, rows):
    rows.ready_for_seed_series()
    asked = ("submit", "linux61-boot-1cpu", "-p", "series", "--plan", "series", "--dry-run")

    told = refault(*asked)
    estimate = json.loads(refault(*asked, "--json").stdout)

    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("5 cells: 1 trace x ")
    assert (estimate["cells"], estimate["cached"], estimate["to_run"]) == (5, 5, 0)
    assert client.list_batches()["items"] == []


def test_a_cancelled_batch_goes_on_when_it_is_resumed(refault, client, rows):
    rows.register_simulator()
    row = client.create_patch_set("one", base="v2.6.34-pre", patches=["zap-account"])
    code = client.submit_batch([rows.add_trace("boot")], [row["id"]])["code"]
    client.cancel_batch(code)

    answer = refault("batches", "resume", code)

    assert answer.returncode == 0, answer.stderr
    assert client.get_batch(code)["state"] in {"queued", "running"}


def test_one_failed_cell_is_run_again_by_its_name_or_by_its_runs_id(refault, client, rows):
    rows.register_simulator()
    row = client.create_patch_set("one", base="v2.6.34-pre", patches=["zap-account"])
    code = client.submit_batch([rows.add_trace("boot")], [row["id"]], plan="series")["code"]
    label = client.get_batch(code)["columns"][1]["label"]
    fail_what_waits(rows)
    failed = client.list_runs(code)["items"]
    assert {run["state"] for run in failed} == {"failed"}

    named = refault("batches", "retry", f"{code}/boot/{label}")
    by_id = refault("batches", "retry", failed[0]["id"])
    nothing = refault("batches", "retry", f"{code}/boot/{label}")

    assert (named.returncode, by_id.returncode) == (0, 0), (named.stderr, by_id.stderr)
    assert named.stdout.startswith(f"{code}: queued, 0 of 2 runs done")
    assert {run["state"] for run in client.list_runs(code)["items"]} == {"queued"}
    assert nothing.returncode == ExitCode.REFUSED
    assert "has no run there that failed" in nothing.stderr
    assert nothing.stderr.count("\n") == 1


def test_a_batch_has_a_title_from_the_start_or_gets_one(refault, client, rows):
    rows.register_simulator()
    rows.add_trace("boot")
    began = refault("submit", "boot", "-p", "base", "--title", "idle guests")
    code = began.stdout.partition(":")[0]
    assert client.get_batch(code)["title"] == "idle guests"
    assert "idle guests" in refault("batches", "list").stdout

    renamed = refault("batches", "rename", code, "busy guests")

    assert renamed.returncode == 0, renamed.stderr
    assert refault("batches", "show", code).stdout.startswith("busy guests\n")
