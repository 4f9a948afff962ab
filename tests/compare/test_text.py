import shlex
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.compare import Column, compare, to_text
from refault.compare.layout import shell_command, wrap
from refault.errors import ComparisonError
from refault.results import COUNTERS
from tests.builders import make_column, make_finding, make_result, seed_series_columns

EXPECTED = Path(__file__).parent / "expected"
COMMAND = ["refault", "replay", "linux61-workload-1cpu.rft", "linux61-boot-1cpu.rft"]


def terminal_width(line):
    """Columns of a terminal, counted without the code under test."""
    wide = sum(unicodedata.east_asian_width(char) in {"W", "F"} for char in line)
    marks = sum(unicodedata.category(char).startswith("M") for char in line)
    return len(line) + wide - marks


def seed_series(trace):
    return compare(seed_series_columns(trace), trace_name=trace)


def text_of(*comparisons, command="refault replay t.rft", **how):
    return to_text(comparisons, title="title", command=command, **how)


def test_the_seed_series_prints_as_the_committed_table():
    comparisons = [seed_series("linux61-workload-1cpu"), seed_series("linux61-boot-1cpu")]
    text = to_text(comparisons, title="seed series on v2.6.34-pre: batch b-7k3f", command=COMMAND)
    # Changed on purpose? Read the new text from top to bottom, then store it.
    assert text == (EXPECTED / "seed_series.txt").read_text()


def test_the_how_to_shows_lines_of_the_committed_table():
    how_to = (Path(__file__).parents[2] / "docs" / "howto" / "read-a-comparison.md").read_text()
    shown = [line for block in how_to.split("```")[1::2] for line in block.splitlines() if line]
    table = (EXPECTED / "seed_series.txt").read_text().splitlines()
    assert len(shown) > 25
    assert not [line for line in shown if line not in table]


TEXTS = st.text(max_size=40)
COUNTS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.dictionaries(st.sampled_from(COUNTERS), COUNTS, max_size=3)


@st.composite
def columns(draw):
    place = draw(st.integers(0, 10**6))
    result = make_result(
        variant=str(place),
        counters=draw(NUMBERS),
        semantics=draw(
            st.fixed_dictionaries({}, optional={"wrong_address": COUNTS, "missed_fault": COUNTS})
        ),
        outcomes=draw(st.sampled_from("ab")),
        findings=draw(
            st.lists(st.builds(make_finding, message=TEXTS), max_size=1).map(tuple),
        ),
        skipped=draw(st.dictionaries(TEXTS, st.integers(0, 2**60), max_size=2)),
    )
    return Column(
        label=draw(TEXTS),
        variant_name=draw(TEXTS),
        golden_name=draw(st.none() | st.just("p3")),
        result=draw(st.just(result) | st.none()),
        state=draw(st.sampled_from(["done", "queued", "failed"])),
        variant_digest=result.variant_digest,
        error=draw(st.none() | TEXTS),
    )


@given(
    st.lists(columns(), min_size=1, max_size=9),
    TEXTS,
    TEXTS,
    st.lists(TEXTS, min_size=1),
    st.sampled_from([60, 72, 100]),
    st.booleans(),
)
def test_no_line_is_wider_than_asked_whatever_labels_and_numbers(
    given_columns, title, trace_name, words, width, every_counter
):
    comparison = compare(given_columns, trace_name=trace_name)
    text = to_text(
        [comparison, comparison],
        title=title,
        command=words,
        width=width,
        every_counter=every_counter,
    )
    for line in text.split("\n"):
        assert terminal_width(line) <= width, line
        assert line == line.rstrip() or line.endswith("\\")
        assert all(unicodedata.category(char)[0] != "C" for char in line)


@pytest.mark.parametrize("count", range(2, 14))
def test_many_columns_go_into_panels_that_all_begin_with_the_base(count):
    comparison = compare(
        [
            make_column(f"v{n}", make_result(variant=str(n), counters={"exits": 100_000 + 7 * n}))
            for n in range(count)
        ]
    )
    lines = text_of(comparison).splitlines()
    heads = [line.split() for line in lines if line.split()[:1] == ["v0"] and "." not in line]
    assert [label for head in heads for label in head[1:]] == [f"v{n}" for n in range(1, count)]
    assert all(head[0] == "v0" for head in heads)
    exits = [line.split() for line in lines if line.startswith("exits ")]
    assert [cell for row in exits for cell in row[2:]] == [f"+{7 * n}" for n in range(1, count)]
    assert {row[1] for row in exits} == {"100,000"}


def test_semantics_stand_before_counters():
    lines = text_of(seed_series("linux61-boot-1cpu")).splitlines()
    starts = [line[:17].strip() for line in lines]
    order = ["verdict", "guest's outcomes", "wrong address", "missed fault", "exits", "pf_fixed"]
    assert sorted(order, key=starts.index) == order


def test_a_finding_names_operation_event_and_address():
    text = " ".join(text_of(seed_series("linux61-boot-1cpu")).split())
    assert (
        "1-3 GUEST-VISIBLE CHANGE: 32 accesses reached a wrong address, 32 faults were missed. "
        "first of 64 findings: operation 1302744 (event 1412874), vcpu 0, gva 0x7fc8aa720000: "
        "st user reached 0x29e6000; real guest: #PF 6 "
        "1-4*, 1-5* GUEST-VISIBLE CHANGE" in text
    )
    assert text.count("first of 64 findings") == 1
    assert "as 1-3." in text


def test_only_columns_without_a_real_code_result_are_marked_and_the_mark_is_explained():
    text = text_of(seed_series("linux61-boot-1cpu"))
    assert "1-4*" in text
    assert "1-5*" in text
    assert "1-3*" not in text
    assert "* No real-code result exists" in text
    sound = compare([make_column("base"), make_column("p3")])
    assert "*" not in text_of(sound)


def test_counters_that_do_not_differ_are_counted_and_shown_on_request():
    comparison = compare(
        [make_column("base"), make_column("p3", make_result(variant="3", counters={"exits": 1}))]
    )
    short, full = text_of(comparison), text_of(comparison, every_counter=True)
    assert "22 more are the same in every column." in " ".join(short.split())
    assert "\nmmu_pde_zapped " not in short
    assert all(f"\n{name} " in full for name in COUNTERS)
    same = compare([make_column("base"), make_column("p3")])
    assert "All 23 counters are the same in every column." in text_of(same)


def test_digests_of_trace_variants_and_simulator_are_shown_with_twelve_digits():
    comparison = seed_series("linux61-boot-1cpu")
    text = text_of(comparison)
    assert f" {comparison.trace.digest[:12]}\n" in text
    assert f"Engine shadow {comparison.simulator_digest[:12]}." in text
    for column in comparison.columns:
        assert f" {column.variant_digest[:12]}\n" in text


def test_a_long_label_gets_a_letter_and_is_spelled_out_once():
    label = "my second attempt"
    column = make_column(label, golden_name=None, variant_name="v2.6.34-pre +zap-account")
    text = text_of(compare([make_column("base"), column]))
    assert "  [A]*   my second attempt: base +zap-account " in text
    assert text.count(label) == 1
    assert "[A]*  identical: every outcome" in text


def test_one_label_for_two_machines_is_told_apart():
    columns = [
        make_column("mine", make_result(variant=name), variant_name=name) for name in ("one", "two")
    ]
    text = text_of(compare(columns))
    assert "\n  mine  " in text
    assert "\n  [A]    mine: two " in text


def test_missing_runs_and_truncated_traces_are_told():
    waiting = Column("p3", "v2.6.34-pre +p3", "p3", None, "queued", variant_digest="3" * 64)
    comparison = compare(
        [make_column("base", make_result(truncated=True)), waiting], trace_name="cut"
    )
    text = text_of(comparison)
    assert "p3  missing: the run is queued." in text
    assert "Note: cut is truncated: replayed up to its last whole block." in text
    row = next(line for line in text.splitlines() if line.startswith("guest's outcomes"))
    assert row.split()[-1] == "-"


def test_what_was_checked_is_told_without_promising_more():
    waiting = Column("p6", "v2.6.34-pre +p6", "p6", None, "queued", variant_digest="6" * 64)
    base, p3 = make_column("base"), make_column("p3")

    def note(*columns):
        return " ".join(text_of(compare(columns)).split())

    checked = "1,855,437 of 1,855,437 accesses checked against the real guest"
    assert f"{checked}; all agree in every column." in note(base, p3)
    assert f"{checked}; all agree so far." in note(base, p3, waiting)
    wrong = make_column("p3", make_result(variant="p3", semantics={"other": 1}))
    assert f"{checked}. " in note(base, wrong)
    blind = make_column("base", make_result(semantics={"witnessed": 0}))
    assert "1,855,437 accesses; the trace does not know what a real guest saw" in note(blind)


def test_nothing_has_a_result_yet():
    waiting = [
        Column(label, label, "p3", None, "queued", variant_digest=label * 64) for label in "ab"
    ]
    text = text_of(compare(waiting))
    assert text.count("missing") == 4
    assert "counters" not in text


def test_over_two_traces_the_worst_verdict_and_the_geometric_mean_are_shown():
    text = text_of(seed_series("linux61-workload-1cpu"), seed_series("linux61-boot-1cpu"))
    row = next(line for line in text.splitlines() if line.startswith("over all traces"))
    assert row.split()[3:] == ["identical", "GUEST", "SEES", "GUEST", "SEES", "mixed+"]
    # (48272 / 47334 * 114347 / 96185) ** 0.5
    assert "1-6: exits x 1.101 (geometric mean of 2 traces; best 1.020" in " ".join(text.split())


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])), min_size=1))
def test_a_shell_reads_the_printed_command_as_the_same_words(words):
    lines = shell_command(words, 72)
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == words
    assert all(terminal_width(line) <= 72 for line in lines)


def test_a_long_word_is_cut_after_a_joint():
    word = "+".join(["parent-stop-bit"] * 6)
    lines = shell_command(["refault", "replay", "--variant", word], 72)
    assert lines[1].endswith("+\\")
    assert shlex.split("\n".join(lines).replace("\\\n", ""))[-1] == word


def test_what_would_move_the_cursor_is_replaced():
    column = make_column("p3\x1b[2J", make_result(variant="p3"))
    text = text_of(compare([make_column("base"), column], trace_name="a\nb\x07"))
    assert "\x1b" not in text
    assert "a b?" in text
    assert "\x1b" not in "".join(shell_command(["a\x1bb"], 72))


@given(st.text(), st.integers(8, 40))
def test_wrapping_loses_no_letter(text, width):
    lines = wrap(text, width, first="> ", indent="  ")
    assert all(terminal_width(line) <= width for line in lines)
    shown = "".join("".join(lines)[2:].split())
    kept = "".join(unicodedata.normalize("NFC", text).split())
    assert shown == "".join("?" if unicodedata.category(char)[0] == "C" else char for char in kept)


def test_a_table_nobody_can_set_is_refused():
    with pytest.raises(ComparisonError, match="nothing to print"):
        to_text([], title="t", command="c")
    with pytest.raises(ComparisonError, match="width 20: a table needs at least 48 columns"):
        text_of(seed_series("linux61-boot-1cpu"), width=20)
    with pytest.raises(ComparisonError, match="command: No closing quotation"):
        text_of(seed_series("linux61-boot-1cpu"), command="refault 'x")
