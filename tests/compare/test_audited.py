"""Verdicts where the columns were audited: what is a repair, what is broken, what is lawful."""

import json

import pytest

from refault.compare import Verdict, compare, overall, to_dict, to_markdown, to_text
from tests.builders import make_broken, make_column, make_finding, make_report, make_result

BASE = make_result(variant="base")
COSTLY = {"counters": {"exits": 2 * 96185}}
STOPPED = make_finding(kind="use-after-free", operation_index=1048)
WRONG = {"wrong_address": 2, "missed_fault": 1}
HOST = (
    "after the host took a frame away no leaf and no live TLB entry reaches it, "
    "nor writes it once the host's page is read-only"
)
SOMETHING_ELSE = "the guest or the host saw something else than under base"


def comparison_of(base_failed, failed, *, base=None, level="every", **given):
    """A base and a column with these failures; ``given`` is the column's result."""
    base_result = BASE if base is None else make_result(variant="base", **base)
    return compare(
        [
            make_column("base", base_result, audit=make_report(*base_failed, level=level)),
            make_column(
                "fix",
                make_result(variant="fix", **given),
                audit=make_report(*failed, variant="fix", level=level),
            ),
        ],
        trace_name="notifier",
    )


def judged(base_failed, failed, **given):
    column = comparison_of(base_failed, failed, **given).columns[1]
    return column.verdict, column.reason


def known(check, exception):
    return make_broken(check, exception=exception)


# --- repairs --------------------------------------------------------------------------------


def test_a_column_that_mends_what_the_base_breaks_is_a_repair_whatever_it_costs():
    verdict, reason = judged(["F-H1"], [], **COSTLY)
    assert (verdict, reason) == (Verdict.REPAIR, f"repairs F-H1: {HOST}; exits +100%")


def test_a_repair_that_shows_the_guest_something_else_is_the_lawful_one():
    verdict, reason = judged(["F-T5"], [], outcomes="lawful")
    assert verdict is Verdict.REPAIR
    assert reason.endswith(f"{SOMETHING_ELSE}; where the outcomes differ, base's are not lawful")


def test_a_repair_of_something_nobody_sees_does_not_explain_other_outcomes():
    assert judged(["F-C1"], [], outcomes="others") == (
        Verdict.REPAIR,
        f"repairs F-C1: lpages is the number of large leaves; {SOMETHING_ELSE}",
    )


def test_a_gauge_that_drifts_as_was_known_does_not_undo_a_repair():
    """What the base never had to count, since it left the leaf where it was."""
    verdict, reason = judged(["F-H1"], [known("F-C1", "F-X6")])
    assert verdict is Verdict.REPAIR
    assert reason == f"repairs F-H1: {HOST}; meets F-C1 (F-X6, known)"
    assert judged(["F-H1"], ["F-C1"])[0] is Verdict.BROKEN_INVARIANT
    assert judged([], [known("F-C1", "F-X6")])[0] is Verdict.IDENTICAL


def test_what_the_guest_sees_wrong_under_both_is_said_of_equal_outcomes_too():
    verdict, reason = judged([known("F-T5", "B8")], [known("F-T5", "B8")], **COSTLY)
    assert verdict is Verdict.REGRESSION
    assert reason == "exits +100%; both fail F-T5 (B8, known)"


def test_what_nothing_explains_is_named_where_both_have_it():
    verdict, reason = judged(["F-R1"], ["F-R1"])
    assert verdict is Verdict.IDENTICAL
    assert reason.endswith("; both fail F-R1")


def test_a_repair_names_three_checks_and_counts_the_others():
    _, reason = judged(["F-S1", "F-S3", "F-R1", "F-U1", "F-C1"], [])
    assert [name in reason for name in ("F-S1", "F-S3", "F-R1", "F-U1", "F-C1")] == [
        *(True, True, True, False, False)
    ]
    assert reason.endswith("; and 2 more checks")


def test_mending_a_known_exception_is_a_repair_too():
    verdict, reason = judged([known("F-T1", "F-X1"), known("F-T1", "F-X2")], [])
    assert verdict is Verdict.REPAIR
    assert reason.startswith("repairs F-T1 (F-X1, known): a leaf grants no more")


def test_two_exceptions_of_one_check_are_two_failures():
    both, one = [known("F-T1", "F-X1"), known("F-T1", "F-X2")], [known("F-T1", "F-X2")]
    verdict, reason = judged(both, one)
    assert verdict is Verdict.REPAIR
    assert "F-X1" in reason
    assert "F-X2" not in reason


def test_a_base_that_stopped_and_a_column_that_runs_on_is_a_repair_without_costs():
    verdict, reason = judged(["F-S1"], [], base={"stopped": STOPPED}, **COSTLY)
    assert verdict is Verdict.REPAIR
    assert "runs to the end, where base stops at operation 1048 (use-after-free)" in reason
    assert "exits" not in reason


def test_a_base_that_stopped_and_no_check_that_says_why_is_repaired_as_without_audits():
    assert judged([], [], base={"stopped": STOPPED})[0] is Verdict.REPAIR


def test_a_base_that_misled_its_guest_is_repaired_with_what_the_witness_says():
    verdict, reason = judged(["F-T5"], [], base={"semantics": WRONG})
    assert verdict is Verdict.REPAIR
    assert "base is wrong in 3 accesses" in reason
    assert judged([], [], base={"semantics": WRONG})[0] is Verdict.REPAIR


def test_a_base_whose_guest_saw_a_known_exception_alarms_nobody():
    explained = {"base": {"semantics": WRONG, "outcomes": "wrong"}}
    same = {"semantics": WRONG, "outcomes": "wrong"}
    found = comparison_of([known("F-T5", "B8")], [known("F-T5", "B8")], **explained, **same)
    assert found.base.verdict is Verdict.BASE
    assert found.base.reason == (
        "2 accesses reached a wrong address, 1 fault was missed; the base fails F-T5 (B8, known)"
    )
    assert found.columns[1].verdict is Verdict.IDENTICAL
    assert overall([found]).exit_code == 0
    unexplained = comparison_of(["F-T5"], ["F-T5"], **explained, **same)
    assert [column.verdict for column in unexplained.columns] == [Verdict.GUEST_VISIBLE_CHANGE] * 2
    assert overall([unexplained]).exit_code == 1
    sampled = comparison_of([known("F-T5", "B8")], [], level="sampled-64-0", **explained, **same)
    assert sampled.base.verdict is Verdict.GUEST_VISIBLE_CHANGE


def test_a_base_that_loses_pages_by_a_known_exception_alarms_nobody():
    lost = {"findings": (make_finding(kind="lost-dirty-page", operation_index=9),)}
    found = comparison_of([known("F-D1", "F-X1")], [known("F-D1", "F-X1")], base=lost, **lost)
    assert found.base.verdict is Verdict.BASE
    assert found.base.reason == (
        "lost-dirty-page at operation 9; the base fails F-D1 (F-X1, known)"
    )
    assert found.columns[1].verdict is Verdict.IDENTICAL
    assert overall([found]).exit_code == 0
    for failed in ([], ["F-D1"], [known("F-T1", "F-X1")], [known("F-D1", "F-X1"), "F-D1"]):
        found = comparison_of(failed, failed, base=lost, **lost)
        assert [each.verdict for each in found.columns] == [Verdict.BROKEN_INVARIANT] * 2
    misled = lost | {"semantics": WRONG}
    seen = comparison_of([known("F-D1", "F-X1")], [], base=misled, **misled)
    assert seen.base.verdict is Verdict.BROKEN_INVARIANT


def test_a_repair_that_leaves_some_of_the_base_s_wrong_accesses_is_still_one():
    misled = {"semantics": WRONG}
    fewer = {"semantics": {"missed_fault": 1}}
    verdict, reason = judged(["F-H1"], [], base=misled, **fewer)
    assert verdict is Verdict.REPAIR
    assert "1 fault was missed, base no less" in reason


@pytest.mark.parametrize(
    ("own", "verdict"),
    [
        ({"semantics": {"missed_fault": 1}}, Verdict.GUEST_VISIBLE_CHANGE),
        ({"stopped": STOPPED}, Verdict.BROKEN_INVARIANT),
        (
            {"findings": (make_finding(kind="assertion", operation_index=7),)},
            Verdict.BROKEN_INVARIANT,
        ),
        ({"findings": (make_finding(kind="livelock"),)}, Verdict.GUEST_VISIBLE_CHANGE),
    ],
)
def test_what_a_column_has_of_its_own_is_never_hidden_by_a_repair(own, verdict):
    assert judged(["F-H1"], [], **own)[0] is verdict


def test_an_integrity_alarm_stands_above_any_audit():
    columns = [
        make_column("base", BASE, audit=make_report("F-H1")),
        make_column("fix", make_result(variant="fix"), audit=make_report(), alarm="other bytes"),
    ]
    assert compare(columns).columns[1].verdict is Verdict.INTEGRITY
    untrusted = [make_column("base", BASE, audit=make_report("F-H1"), alarm="x"), columns[1]]
    assert compare(untrusted).columns[0].verdict is Verdict.INTEGRITY


# --- what only the column breaks ------------------------------------------------------------


def test_a_check_that_only_the_column_fails_is_a_broken_invariant():
    verdict, reason = judged([], [make_broken("F-U1", operation_index=77, count=3)])
    assert verdict is Verdict.BROKEN_INVARIANT
    assert reason == (
        "fails F-U1 at operation 77 (unmap gfn 0x300), 3 places: every link on the way to an "
        "out-of-sync page is marked; base passes"
    )


def test_a_known_exception_that_the_base_does_not_have_is_told_as_one():
    verdict, reason = judged([], [known("F-T1", "F-X1")])
    assert verdict is Verdict.BROKEN_INVARIANT
    assert reason.startswith("fails F-T1 (F-X1, known) at operation 12")


def test_what_is_repaired_stands_after_what_is_broken():
    verdict, reason = judged(["F-C1"], ["F-U1"])
    assert verdict is Verdict.BROKEN_INVARIANT
    assert reason.endswith("; repairs F-C1: lpages is the number of large leaves")


def test_a_lost_mark_outranks_what_the_guest_then_sees_and_both_are_told():
    verdict, reason = judged([], ["F-U1", "F-T5"], semantics=WRONG)
    assert verdict is Verdict.BROKEN_INVARIANT
    assert "F-U1" in reason
    assert reason.endswith("2 accesses reached a wrong address, 1 fault was missed")


def test_a_failure_beyond_where_the_base_stopped_alarms_unless_it_is_known():
    base = {"stopped": STOPPED}
    late = {"operation_index": 2000}
    unknown = make_broken("F-U1", **late)
    assert judged(["F-S1"], [unknown], base=base)[0] is Verdict.BROKEN_INVARIANT
    expected = make_broken("F-C1", exception="F-X6", **late)
    assert judged(["F-S1"], [expected], base=base)[0] is Verdict.REPAIR


# --- which outcome is lawful ----------------------------------------------------------------


def test_an_outcome_that_only_the_column_s_tables_do_not_allow_is_said_to_be_so():
    verdict, reason = judged([], ["F-T5"], outcomes="others")
    assert verdict is Verdict.GUEST_VISIBLE_CHANGE
    assert reason.startswith(
        "the outcome is one the guest's tables do not allow, and base's is lawful: F-T5 at "
        "operation 12 (unmap gfn 0x300), 1 place: "
    )


def test_outcomes_that_differ_where_neither_audit_found_fault_are_both_lawful():
    assert judged(["F-C1"], ["F-C1"], outcomes="others") == (
        Verdict.GUEST_VISIBLE_CHANGE,
        f"{SOMETHING_ELSE}; both are lawful",
    )


def test_outcomes_that_differ_where_both_are_wrong_say_so():
    assert judged(["F-T5"], ["F-T5"], outcomes="others") == (
        Verdict.GUEST_VISIBLE_CHANGE,
        f"{SOMETHING_ELSE}; neither is lawful throughout: both fail F-T5",
    )


def test_samples_prove_no_outcome_lawful():
    _, reason = judged([], [], outcomes="others", level="sampled-64-0")
    assert reason.endswith("samples found nothing unlawful in either")


# --- costs and the base ---------------------------------------------------------------------


def test_needless_work_explains_a_cost_and_judges_nothing():
    needless = make_broken("F-P4", count=9)
    title = "a store that stays inside one entry drops no table"
    assert judged([], [needless], **COSTLY) == (
        Verdict.REGRESSION,
        f"exits +100%; fails F-P4 at 9 places (base at 0): {title}",
    )
    verdict, reason = judged([needless], [], counters={"exits": 50_000})
    assert verdict is Verdict.IMPROVEMENT
    assert reason == f"exits -48.0%; fails F-P4 at 0 places (base at 9): {title}"
    assert judged([needless], [needless])[0] is Verdict.IDENTICAL


def test_a_base_with_a_known_exception_says_so_and_alarms_nobody():
    comparison = comparison_of([known("F-C1", "F-X6")], [known("F-C1", "F-X6")])
    base = comparison.base
    assert (base.verdict, base.reason) == (Verdict.BASE, "the base fails F-C1 (F-X6, known)")
    assert not comparison.worst_verdict.is_alarming
    assert comparison.columns[1].verdict is Verdict.IDENTICAL
    assert "base  the base fails F-C1 (F-X6, known)." in text_of(comparison)


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        ("F-H1", Verdict.BROKEN_INVARIANT),
        ("F-T5", Verdict.GUEST_VISIBLE_CHANGE),
        ("F-P4", Verdict.BASE),
    ],
)
def test_a_base_that_fails_what_nothing_explains_alarms_like_any_column(check, verdict):
    assert comparison_of([check], []).base.verdict is verdict


def test_a_base_s_own_finding_stands_beside_its_audit():
    base = comparison_of(["F-S1"], [], base={"stopped": STOPPED}).base
    assert base.verdict is Verdict.BROKEN_INVARIANT
    assert base.reason.startswith("use-after-free at operation 1048; the base fails F-S1 at")


def test_without_an_audit_of_both_or_of_one_level_verdicts_are_as_they_were():
    fixed = make_result(variant="fix", **COSTLY)
    for mine, theirs in (
        (None, None),
        (make_report("F-H1"), None),
        (make_report("F-H1"), make_report(level="flush")),
    ):
        columns = [make_column("base", BASE, audit=mine), make_column("fix", fixed, audit=theirs)]
        found = compare(columns).columns[1]
        assert (found.verdict, found.reason) == (Verdict.REGRESSION, "exits +100%")


def test_a_repair_is_nothing_a_job_fails_for():
    comparison = comparison_of([known("F-T1", "F-X1")], [], **COSTLY)
    found = overall([comparison])
    assert (found.status, found.exit_code) == (Verdict.REPAIR, 0)


# --- the section under the table ------------------------------------------------------------


def text_of(comparison):
    return to_text([comparison], title="title", command="refault replay t.rft")


def test_the_section_lists_each_failed_check_by_column():
    comparison = comparison_of(
        [make_broken("F-C1", count=3, exception="F-X6"), "F-H1"],
        [make_broken("F-C1", count=2, exception="F-X6")],
        **COSTLY,
    )
    text = text_of(comparison)
    assert max(map(len, text.splitlines())) <= 72
    section = text[text.index("Audit (every)") : text.index("\n----", text.index("Audit"))]
    assert section == (
        "Audit (every): what must hold, and where it does not\n"
        "  F-H1  after the host took a frame away no leaf and no live TLB entry\n"
        "        reaches it, nor writes it once the host's page is read-only\n"
        "    base: 1 place, first at operation 12 (event 42)\n"
        "  F-C1  lpages is the number of large leaves\n"
        "    base: 3 places, first at operation 12 (event 42); F-X6, known\n"
        "    fix: 2 places, first at operation 12 (event 42); F-X6, known\n"
    )


def test_the_section_says_which_columns_are_clean_and_which_were_not_audited():
    columns = [
        make_column("base", BASE, audit=make_report("F-H1")),
        make_column("fix", make_result(variant="fix"), audit=make_report(unfinished=2)),
        make_column("other", make_result(variant="other")),
    ]
    text = text_of(compare(columns))
    assert "  No check failed in fix.\n  Not audited: other.\n" in text
    assert "  In fix 2 sweeps ended at their bound of steps.\n" in text
    clean = text_of(comparison_of([], []))
    assert "Audit (every): no check failed\n" in clean


def test_markdown_and_json_have_the_section_only_where_there_is_an_audit():
    comparison = comparison_of(["F-H1"], [], **COSTLY)
    markdown = to_markdown([comparison], title="title", command="refault replay t.rft")
    assert f"- F-H1 in base: 1 place, first at operation 12 (event 42): {HOST}\n" in markdown
    document = json.loads(json.dumps(to_dict(comparison)))
    (row,) = document["audit"]["failed"]
    assert (row["check"], row["title"]) == ("F-H1", HOST)
    assert row["columns"][0][0]["count"] == 1
    assert row["columns"][1] == []
    assert document["audit"]["reports"][0]["broken"][0]["check"] == "F-H1"
    assert document["columns"][1]["verdict"]["name"] == "repair"

    bare = compare([make_column("base", BASE), make_column("fix", make_result(variant="fix"))])
    assert "audit" not in to_dict(bare)
    assert "Audit" not in text_of(bare)
    assert "Audit" not in to_markdown([bare], title="title", command="refault replay t.rft")
