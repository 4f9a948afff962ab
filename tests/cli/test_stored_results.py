"""``refault compare`` of stored results: with their audits, and what it says without; the forms."""

import csv
import io
import json
import shlex

import pytest

from refault.audits import Level
from refault.catalogue import patch_set_from_text, resolve
from refault.cli.forms import audit_notes
from refault.cli.trace_files import as_trace
from refault.compare import compare
from refault.engines.audit.auditing import audit
from refault.replay.session import replay
from tests.audit.running import VECTORS
from tests.builders import make_column, make_result
from tests.cli.running import run_here

VECTOR = VECTORS / "large-over-table-no-flush.ops.jsonl"
VARIANTS = ("base,tlb=1", "rel35,tlb=1")


@pytest.fixture
def refault(monkeypatch, tmp_path):
    return lambda *arguments: run_here(monkeypatch, tmp_path, *arguments)


@pytest.fixture(scope="module")
def runs():
    """Two runs as the service shows them, with the audits that their batch asked for."""
    variants = [resolve(patch_set_from_text(text)) for text in VARIANTS]
    with as_trace(VECTOR) as trace:
        results = replay(trace, variants)
        reports = audit(trace, variants, Level("every"))
    return [
        {
            "trace_name": "guest",
            "variant": {"name": variant.name, "text": text, "golden_name": None},
            "result": result.to_dict(),
            "audit": {"level": "every", "state": "done", "report": report.to_dict()},
        }
        for text, variant, result, report in zip(VARIANTS, variants, results, reports, strict=True)
    ]


@pytest.fixture
def stored(tmp_path):
    def store(runs, **changed):
        paths = []
        for place, run in enumerate(runs):
            paths.append(tmp_path / f"{'ab'[place]}.json")
            paths[-1].write_text(json.dumps(run | changed), encoding="utf-8")
        return paths

    return store


def test_stored_results_are_judged_with_their_audits(refault, runs, stored):
    answer = refault("compare", *stored(runs))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "repair" in answer.stdout
    assert "F-T6b" in answer.stdout
    assert "Not audited" not in answer.stdout


def test_without_audits_it_says_what_was_not_asked_and_how_to_ask(refault, runs, stored):
    paths = stored(runs, audit=None)
    for form in ("text", "md"):
        answer = refault("compare", *paths, "--format", form)
        told = " ".join(answer.stdout.split())
        assert "repair:" not in told.lower()
        assert "Not audited: which rules of the MMU a column breaks unseen." in told
        command = shlex.split(told.partition("To ask: ")[2])[:8]
        assert command[:3] == ["refault", "audit", "guest"]
        assert command[3:] == ["-v", VARIANTS[0], "-v", VARIANTS[1], "--service"]
    (told,) = json.loads(refault("compare", *paths, "--json").stdout)
    assert shlex.split(told["audit_command"]) == command


def test_the_command_of_files_alone_names_no_service(refault, runs, stored, tmp_path):
    paths = stored([run["result"] for run in runs])
    answer = refault("compare", *paths)
    told = " ".join(answer.stdout.split())
    assert "refault audit TRACE -v" in told
    assert "--service" not in told
    # What it tells one to run does run, and says what the comparison could not.
    audited = refault("audit", VECTOR, "-v", VARIANTS[0], "-v", VARIANTS[1])
    assert audited.returncode == 0
    assert "F-T6b" in audited.stdout


@pytest.mark.parametrize("report", [{"version": 1}, "nonsense", 5])
def test_what_is_no_audit_is_bad_input(refault, runs, stored, report):
    answer = refault("compare", *stored(runs, audit={"report": report}))
    assert answer.returncode == 2
    assert answer.stderr.startswith("refault: audit: ")


def test_the_audit_of_another_run_is_refused(refault, runs, stored):
    answer = refault("compare", *stored(runs, audit=runs[0]["audit"]))
    assert answer.returncode == 2
    assert "of another trace or variant" in answer.stderr


def test_replay_has_modelled_cycles_in_every_form(refault, tmp_path):
    with as_trace(VECTOR) as trace:
        path = tmp_path / "case.rft"
        path.write_bytes(trace.read_bytes())
    asked = ("replay", path, "-v", "base", "-v", "rel35", "--costs", "exit:7", "--audit", "off")
    text = refault(*asked).stdout
    markdown = refault(*asked, "--format", "md").stdout
    rows = list(csv.DictReader(io.StringIO(refault(*asked, "-f", "csv").stdout)))
    (told,) = json.loads(refault(*asked, "-f", "json").stdout)
    assert json.loads(refault(*asked, "--json").stdout) == [told]
    totals = told["cost_model"]["totals"]
    assert [int(row["value"]) for row in rows if row["name"] == "in all"] == totals
    for total in totals:
        assert f"{total:,}" in text
        assert f"{total:,}" in markdown
    assert "Estimates, measured by nobody we could cite" in " ".join(markdown.split())


def test_replay_refuses_a_form_that_is_not_there(refault, tmp_path):
    with as_trace(VECTOR) as trace:
        path = tmp_path / "case.rft"
        path.write_bytes(trace.read_bytes())
    answer = refault("replay", path, "-v", "base", "--format", "pdf")
    assert answer.returncode == 2
    assert "expected one of text, md, csv, json" in answer.stderr


def test_what_was_not_audited_is_one_line_for_traces_that_ask_alike():
    names = ("boot", "fork", "gcc")
    columns = [make_column("base", make_result()), make_column("fix", make_result(variant="fix"))]
    judged = [compare(columns, trace_name=name) for name in names]
    commands = [f"refault audit {name}.rft -v base -v fix" for name in names]
    told = audit_notes(judged, ["", *commands[1:]], ["", "", ""])
    assert told == [
        (
            "Not audited: which rules of the MMU a column breaks unseen. To ask: "
            "refault audit TRACE -v base -v fix (TRACE: each of fork, gcc)"
        )
    ]
    assert audit_notes(judged, [commands[0], "", ""], ["boot", "", ""]) == [
        (
            "Not audited: which rules of the MMU a column breaks unseen. To ask: "
            "refault audit boot.rft -v base -v fix (TRACE: the file of boot)"
        )
    ]
