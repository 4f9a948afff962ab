"""Replays beside logs: our own log agrees, and every change of it is found where it was made."""

import json
import re

import pytest

from refault.catalogue import patch_set_from_text, resolve
from refault.cli.exits import ExitCode
from refault.replay.session import Session
from refault.validate.counting import COUNTS, Curve
from tests.cli.running import run_here
from tests.trace.hostlog.making import Maker, guest
from tests.trace.hostlog.reading import SAMPLES

MARKS = (8443, 16230)


@pytest.fixture(scope="module")
def replayed(trace):
    """What `refault replay --events` writes of it, and its operations at each mark."""
    lines = []
    variant = resolve(patch_set_from_text("base"))
    with Session(trace, [variant], events=lines.append) as session:
        marks = []
        for index in MARKS:
            session.advance(to_event=index)
            marks.append(session.operations)
        session.advance()
    return "".join(lines), marks


@pytest.fixture
def validate(trace, tmp_path, monkeypatch):
    def run(log, *arguments):
        path = tmp_path / "host.log"
        path.write_bytes(log if isinstance(log, bytes) else log.encode())
        return run_here(monkeypatch, tmp_path, "validate", trace, path, *arguments)

    return run


def told(answer):
    return json.loads(answer.stdout)


def stamp(line):
    found = re.search(r"(\d+)\.(\d{6}): ", line)
    return int(found[1]) * 10**6 + int(found[2]) if found else -1


def with_marks(log, marks):
    lines, due = [], list(enumerate(marks, 1))
    for line in log.splitlines():
        while due and stamp(line) >= due[0][1]:
            number, place = due.pop(0)
            time = f"{place // 10**6:5d}.{place % 10**6:06d}"
            lines.append(f"           bash-99    [001] {time}: tracing_mark_write: mark {number}")
        lines.append(line)
    return "\n".join(lines) + "\n"


def test_our_own_log_agrees(validate, replayed):
    answer = validate(replayed[0])
    assert answer.returncode == ExitCode.OK, answer.stdout + answer.stderr
    assert "All counts agree, in every phase." in answer.stdout
    assert all(len(line) <= 72 for line in answer.stdout.splitlines())

    assert "Of the trace: Made for a test." in answer.stdout
    report = told(validate(replayed[0], "--json"))
    assert report["trace_losses"] == ["Made for a test."]
    assert (report["verdict"], report["phases_by"], report["first_difference"]) == (
        "agree", "cr3", None,
    )  # fmt: skip
    assert report["totals"]["ours"] == report["totals"]["host"]
    assert report["totals"]["ours"]["faults"] > 100
    for count in COUNTS:
        assert (
            sum(phase["ours"][count] for phase in report["phases"])
            == (report["totals"]["ours"][count])
        )


@pytest.mark.parametrize("phases", ["auto", "marks"])
def test_marks_of_the_host_are_those_of_the_trace(validate, replayed, phases):
    log, marks = replayed
    report = told(validate(with_marks(log, marks), "--phases", phases, "--json"))
    assert (report["verdict"], report["phases_by"]) == ("agree", "marks")
    assert [phase["name"] for phase in report["phases"]] == [
        "before mark 1", "after mark 1", "after mark 2",
    ]  # fmt: skip
    assert report["marks"] == [1, 16]


@pytest.mark.parametrize("phases", ["time", "whole", "cr3"])
def test_phases_of_every_kind_agree_with_our_own_log(validate, replayed, phases):
    report = told(validate(replayed[0], "--phases", phases, "--slices", "5", "--json"))
    assert (report["verdict"], report["phases_by"]) == ("agree", phases)
    assert len(report["phases"]) == {"time": 5, "whole": 1, "cr3": 5}[phases]


@pytest.mark.parametrize(
    ("name", "count"),
    [("kvm_page_fault", "faults"), ("kvm_mmu_get_page", "get_page"), ("kvm_mmu_sync_page", "sync"),
     ("kvm_mmu_unsync_page", "unsync"), ("kvm_mmu_zap_page", "zap")],
)  # fmt: skip
@pytest.mark.parametrize("change", ["gone", "twice"])
def test_one_event_that_is_gone_or_twice_is_found_where_it_is(
    validate, replayed, name, count, change
):
    lines = replayed[0].splitlines(keepends=True)
    places = [at for at, line in enumerate(lines) if f" {name}: " in line]
    at = places[len(places) // 2]
    counted = ("kvm_page_fault", "_page: ")
    before = sum(any(word in line for word in counted) for line in lines[:at])
    lines[at] = "" if change == "gone" else lines[at] * 2
    answer = validate("".join(lines), "--json")
    report = told(answer)

    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert report["verdict"] == "part"
    assert count in report["parts_first_by"]
    ours, host = (report["totals"][side][count] for side in ("ours", "host"))
    assert host - ours == (-1 if change == "gone" else 1)
    # The same line may follow itself; then the difference shows only at the next one.
    assert before <= report["first_difference"]["number"] <= before + 3
    parted = [phase for phase in report["phases"] if phase["ours"] != phase["host"]]
    assert [phase["name"] for phase in parted] == [report["parts_first_in"]]


def test_another_address_is_a_difference_though_all_counts_agree(validate, replayed):
    log = replayed[0]
    found = list(re.finditer(r"kvm_page_fault: address (\w+)", log))[40]
    changed = log[: found.start(1)] + "dead000" + log[found.end(1) :]
    answer = validate(changed)
    assert answer.returncode == ExitCode.OK
    assert "address dead000" in answer.stdout
    assert f"address {found[1]}" in answer.stdout


def test_a_log_with_lost_events_is_never_called_complete(validate, replayed):
    lines = replayed[0].splitlines(keepends=True)
    lines.insert(200, "CPU:0 [LOST 12 EVENTS]\n")
    answer = validate("".join(lines))
    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert "The log is not complete: 12 events were lost." in answer.stdout
    assert "agree as far as the log goes, but it is not complete" in " ".join(answer.stdout.split())
    assert told(validate("".join(lines), "--json"))["host"]["lost"] == 12


def test_a_tolerance_lets_small_differences_pass(validate, replayed):
    lines = replayed[0].splitlines(keepends=True)
    at = next(at for at, line in enumerate(lines) if "kvm_page_fault" in line)
    log = "".join(lines[:at] + lines[at + 1 :])
    whole = ("--phases", "whole", "--json")
    assert told(validate(log, *whole))["verdict"] == "part"
    assert told(validate(log, *whole, "--tolerance", "1"))["verdict"] == "agree"


def test_logs_of_every_form_are_taken(validate):
    for log in (SAMPLES / "kvmmmu-linux6.6.v6.dat").read_bytes(), Maker(version=7).make(guest(20)):
        report = told(validate(log, "--json"))
        assert report["verdict"] == "part"
        assert report["host"]["form"].startswith("trace.dat")
        assert report["first_difference"]["number"] == 0


@pytest.mark.parametrize(
    ("log", "arguments", "message"),
    [
        ("hello\n", (), "no line of its first 6 bytes is a tracepoint of KVM"),
        (" q-1 [000] 1.0: kvm_exit: reason EPT_VIOLATION rip 0x1\n", (), "kvm_intel ept=0"),
        ("kvm_cr: cr_write 3 = 0x1\n", ("--phases", "marks"), "the host's log has none"),
        ("kvm_cr: cr_write 3 = 0x1\n", ("--phases", "moons"), "expected one of auto, marks"),
        ("kvm_cr: cr_write 3 = 0x1\n", ("-v", "walk"), "walk"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_side_by_side_is_told_in_one_line(validate, log, arguments, message):
    answer = validate(log, *arguments)
    assert answer.returncode == ExitCode.BAD_INPUT
    assert message in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_fault_only_trace_is_not_replayed(tmp_path, monkeypatch):
    log = SAMPLES / "kvmmmu-linux6.6.v6.dat"
    assert run_here(monkeypatch, tmp_path, "import", log, "--out", tmp_path).returncode == 0
    made = tmp_path / "kvmmmu-linux6.6.v6.rft"
    for arguments in (("validate", made, log), ("replay", made, "-v", "base"), ("audit", made),
                      ("profile", made), ("diverge", made, "base", "p3")):  # fmt: skip
        answer = run_here(monkeypatch, tmp_path, *arguments)
        assert answer.returncode == ExitCode.BAD_INPUT, arguments
        assert "faults only" in answer.stderr
        assert "without the guest's page tables" in answer.stderr


def test_a_curve_keeps_its_sums_when_its_parts_grow_wider():
    curve = Curve()
    for position in (0, 1, 4095, 4096, 70_000, 1 << 40):
        curve.add(position, [0])
    assert sum(part[0] for part in curve.parts) == 6
    assert len(curve.parts) <= 4096
    assert (1 << 40) // curve.width < 4096
