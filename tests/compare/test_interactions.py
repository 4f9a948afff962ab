"""What two patches do together that neither does alone."""

import json
import time

import pytest

from refault.catalogue import SEED_SERIES
from refault.compare import Threshold, compare, to_markdown, to_text
from refault.compare.interactions import Machine, interactions_of, machines_of, quads_of
from refault.compare.stages import PlanColumn, PlanSet
from refault.compare.steps import TraceEvidence
from tests.builders import make_column, make_result
from tests.compare.test_mail import mail_of
from tests.compare.test_steps import WRONG, evidence_of

FOUR = (
    Machine("base", "base", "b", ()),
    Machine("p", "p", "b", ("p",)),
    Machine("q", "q", "b", ("q",)),
    Machine("both", "both", "b", ("p", "q")),
)


def trace_of(*results, name="t", labels=("base", "p", "q", "both")):
    evidence = {
        label: evidence_of(None if how is None else make_result(variant=label, **how))
        for label, how in zip(labels, results, strict=True)
    }
    return TraceEvidence(name, name, evidence)


def exits(count):
    return {"counters": {"exits": count}}


def told(*results):
    (found,) = interactions_of(FOUR, [trace_of(*results)], Threshold())
    return found


def test_what_adds_up_is_told_as_such():
    found = told(exits(100_000), exits(110_000), exits(95_000), exits(105_000))

    assert not found.is_notable
    assert found.cells[0].terms["exits"].term == 0
    assert found.sentence == "p and q do together what each does alone"


def test_two_that_save_more_together_than_the_sum_of_each_are_named_with_both_numbers():
    found = told(exits(100_000), exits(99_000), exits(98_000), exits(60_000))

    assert found.is_notable
    assert "p and q together are not the sum of each alone on t: exits -40,000 (alone -3,000)" in (
        found.sentence
    )
    term = found.cells[0].terms["exits"]
    assert (term.together, term.alone, term.term) == (-40_000, -3_000, -37_000)
    body = found.to_dict()
    assert json.loads(json.dumps(body)) == body
    assert body["factors"][0] == {
        "name": "exits",
        "mean": pytest.approx(60_000 * 100_000 / (99_000 * 98_000), abs=1e-6),
        "trace_count": 1,
    }


def test_the_product_of_a_waterfall_is_off_by_the_factor():
    found = told(exits(100_000), exits(50_000), exits(50_000), exits(50_000))

    factor = found.cells[0].terms["exits"].factor
    assert (50_000 / 100_000) ** 2 * factor == pytest.approx(50_000 / 100_000)


def test_what_goes_wrong_only_together_comes_first_and_has_no_numbers():
    found = told({}, {}, {}, WRONG)

    assert found.sentence == "p and q go wrong only together, on t"
    assert found.cells[0].terms == {}


def test_what_one_mends_of_the_other_is_told():
    found = told({}, WRONG, {}, {})

    assert found.sentence == "what goes wrong under one of p and q on t is mended by both"


@pytest.mark.parametrize("results", [(WRONG, WRONG, WRONG, WRONG), ({}, None, {}, {})])
def test_where_the_base_is_wrong_or_a_run_is_missing_nothing_is_told(results):
    assert not told(*results).is_notable


def test_a_small_term_is_within_the_threshold():
    assert not told(exits(100_000), exits(100_000), exits(100_000), exits(100_900)).is_notable


def test_a_series_and_an_ablation_have_the_four_columns_together():
    pair = PlanSet("pair", "b", ("p", "q"))
    series = machines_of(
        "series",
        [PlanColumn(label, label, pair, n) for n, label in enumerate(("base", "1", "1-2"))],
    )
    ablation = machines_of(
        "ablation",
        [PlanColumn("pair", "1-2", pair, None), PlanColumn("without p", "q", pair, None)],
    )

    assert quads_of(series) == quads_of(ablation) == []
    (quad,) = quads_of([*series, *ablation])
    assert [each.label for each in quad.machines] == ["base", "1", "without p", "1-2"]
    assert quad.patches == ("p", "q")


def test_columns_that_differ_in_anything_else_are_no_four():
    other = [FOUR[0], FOUR[1], FOUR[2]._replace(ground="another base"), FOUR[3]]
    idle = [FOUR[0], FOUR[1]._replace(variant_digest="base"), FOUR[2], FOUR[3]]

    assert quads_of(other) == quads_of(idle) == []
    assert len(quads_of(FOUR)) == 1


def test_a_matrix_has_the_four_under_each_combination():
    sets = [PlanSet(each.label, "b", each.patches, "{}", each.label) for each in FOUR]
    columns = [
        PlanColumn(f"{each.name} tlb={n}", f"{each.name} {n}", each, None)
        for n in (1, 2)
        for each in sets
    ]

    found = quads_of(machines_of("matrix", columns))

    assert [quad.both.label for quad in found] == ["both tlb=1", "both tlb=2"]


def test_the_search_is_bounded():
    names = [f"p{number}" for number in range(12)]
    machines = [
        Machine(str(bits), str(bits), "b", tuple(n for i, n in enumerate(names) if bits >> i & 1))
        for bits in range(1 << 12)
    ]

    assert len(quads_of(machines)) == 40


def test_the_text_tells_what_is_notable_and_nothing_else():
    columns = [make_column("base"), make_column("p3")]
    quiet = told(exits(9), exits(9), exits(9), exits(9))
    loud = told(exits(100_000), exits(99_000), exits(98_000), exits(60_000))

    without = to_text([compare(columns)], title="t", command="c", interactions=[quiet])
    text = to_text([compare(columns)], title="t", command="c", interactions=[quiet, loud])

    assert "together" not in without
    assert "Two patches together, beside the sum of each alone" in text
    assert max(map(len, text.splitlines())) <= 72


def test_the_markdown_and_the_mail_tell_the_same_pairs():
    columns = [make_column("base"), make_column("p3")]
    quiet = told(exits(9), exits(9), exits(9), exits(9))
    loud = told(exits(100_000), exits(99_000), exits(98_000), exits(60_000))

    markdown = to_markdown([compare(columns)], title="t", command="c", interactions=[quiet, loud])
    mail = " ".join(mail_of({"t": columns}, [quiet, loud]).split())

    assert "together" not in to_markdown([compare(columns)], title="t", command="c")
    assert markdown.count("are not the sum of each alone") == 1
    assert mail.count("are not the sum of each alone") == 1
    assert mail.index("Two patches together") < mail.index("Reproduce with:")
    assert "together" not in mail_of({"t": columns}, [quiet])


def test_a_series_of_a_thousand_patches_is_not_searched_to_its_end():
    names = tuple(f"p{number}" for number in range(1_000))
    machines = [Machine(str(n), str(n), "b", names[:n]) for n in range(1_001)]
    began = time.process_time()

    assert quads_of(machines) == []
    assert time.process_time() - began < 5


def test_a_patch_that_changes_no_knob_keeps_no_columns_apart():
    first, *rest = SEED_SERIES[:3]
    series = PlanSet("series", "b", SEED_SERIES, "{}", "s")
    columns = [PlanColumn(str(n), str(n), series, n) for n in (2, 3)]
    alone = [
        PlanColumn(name, name, PlanSet(name, "b", patches, "{}", name), None)
        for name, patches in (
            ("one", (rest[0], "unsync-list-global")),
            ("both", (*rest, "unsync-list-global")),
        )
    ]

    (quad,) = quads_of([*machines_of("series", columns), *machines_of("each", alone)])

    assert [each.label for each in quad.machines] == ["2", "3", "one", "both"]
    assert first not in quad.both.patches


def test_a_patch_of_a_kernel_is_not_taken_for_the_catalogues():
    own = PlanSet("mine", "kernel:mine", SEED_SERIES[:1])

    (machine,) = machines_of("each", [PlanColumn("mine", "m", own, None)])

    assert machine.patches == SEED_SERIES[:1]
