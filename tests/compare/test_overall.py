import pytest

from refault.compare import Column, Limit, Threshold, Verdict, compare, overall, to_text
from tests.builders import BOOT, make_finding, make_result


def column(label, **given):
    state = {key: given.pop(key) for key in ("state", "alarm", "error") if key in given}
    result = None if given.pop("no_result", False) else make_result(variant=label, **given)
    return Column(label, f"v {label}", label, result, variant_digest=None, **state)


def counted(**changes):
    return {"counters": {name: BOOT["base"][name] + delta for name, delta in changes.items()}}


GOOD = column("good")
WORSE = column("worse", **counted(exits=50_000))
BETTER = column("better", **counted(exits=-50_000))
MISSING = column("missing", no_result=True, state="queued")
CRASHED = column("crashed", no_result=True, state="crashed", error="IndexError")
SEEN = column("seen", outcomes="others")
ALARMED = column("alarmed", alarm="gave other bytes")


@pytest.mark.parametrize(
    ("columns", "status", "exit_code"),
    [
        ([GOOD], "identical", 0),
        ([GOOD, BETTER], "improvement", 0),
        ([GOOD, BETTER, MISSING], "missing", 5),
        ([MISSING, WORSE], "regression", 1),
        ([WORSE, CRASHED], "crashed", 1),
        ([CRASHED, SEEN], "guest-visible-change", 1),
        ([SEEN, ALARMED], "integrity", 1),
    ],
)
def test_the_worst_cell_decides_and_nothing_is_good_before_all_is_known(columns, status, exit_code):
    found = overall([compare([column("base"), *columns])])
    assert (found.status.value, found.exit_code) == (status, exit_code)


def test_of_several_traces_the_worst_cell_is_named_with_its_inputs():
    found = overall(
        [
            compare([column("base"), GOOD], trace_name="quiet"),
            compare([column("base"), WORSE, GOOD], trace_name="busy"),
        ]
    )
    [reason] = found.to_dict()["reasons"]
    assert (reason["trace_name"], reason["label"], reason["verdict"]) == (
        "busy", "worse", "regression",
    )  # fmt: skip
    assert reason["text"] == "exits +52.0%"
    assert reason["variant_digest"] == WORSE.result.variant_digest
    assert reason["trace_digest"] == WORSE.result.trace_digest


@pytest.mark.parametrize(
    "defect",
    [
        {"findings": (make_finding(),), "semantics": {"missed_fault": 1}},
        {"findings": (make_finding(kind="livelock"),), "outcomes": "others"},
        {"findings": (make_finding(kind="assertion"),)},
        {"stopped": make_finding(kind="use-after-free")},
    ],
)
def test_a_finding_in_the_base_is_a_finding_unless_every_column_repairs_it(defect):
    base = column("base", **defect)
    assert overall([compare([base])]).exit_code == 1
    shared = overall([compare([base, GOOD, column("too", **defect)])])
    assert (shared.exit_code, shared.reasons[0].label) == (1, "base")
    repaired = overall([compare([base, GOOD])])
    assert (repaired.status, repaired.exit_code) == (Verdict.REPAIR, 0)
    waiting = overall([compare([base, GOOD, MISSING])])
    assert (waiting.status, waiting.exit_code) == (Verdict.MISSING, 5)


def test_a_base_that_crashed_or_cannot_be_trusted_decides():
    assert overall([compare([CRASHED, GOOD])]).exit_code == 1
    assert overall([compare([ALARMED, GOOD])]).status is Verdict.INTEGRITY


def test_a_base_alone_says_nothing():
    assert overall([compare([column("base")])]).exit_code == 5


@pytest.mark.parametrize(
    ("limit", "delta", "status"),
    [
        (Limit(absolute=2000), 2000, Verdict.UNCHANGED),
        (Limit(absolute=2000), 2001, Verdict.REGRESSION),
        # 5 % of 96185 is 4809.25.
        (Limit(permille=50), 4809, Verdict.UNCHANGED),
        (Limit(permille=50), 4810, Verdict.REGRESSION),
        (Limit(permille=0), 1, Verdict.REGRESSION),
        # Less than the default asks of an improvement.
        (Limit(absolute=0), -900, Verdict.UNCHANGED),
        (None, 2000, Verdict.REGRESSION),
    ],
)
def test_a_project_says_how_much_a_counter_may_worsen(limit, delta, status):
    threshold = Threshold(limits={} if limit is None else {"exits": limit})
    columns = [column("base"), column("c", **counted(exits=delta))]
    assert overall([compare(columns, threshold=threshold)]).status is status


def test_the_report_states_the_verdict_within_its_width():
    comparison = compare([column("base"), WORSE], trace_name="busy")
    text = to_text([comparison], title="t", command="x", verdict=overall([comparison]))
    assert "Verdict: regression (exit code 1): worse on busy: exits +52.0%." in text
    assert max(map(len, text.splitlines())) <= 72
