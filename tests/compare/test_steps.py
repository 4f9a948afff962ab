"""Which patch does it: the steps of a plan, judged each against the column without its patch."""

import dataclasses

import pytest

from refault.catalogue import SEED_SERIES
from refault.compare import Evidence, Threshold, Verdict, compare, overall_of, to_markdown
from refault.compare.answers import answer
from refault.compare.stages import PlanColumn, PlanSet, stages_among, stages_of
from refault.compare.steps import TraceEvidence, of_ablation, steps_of
from refault.facts import facts_of
from tests.builders import BOOT, make_finding, make_result, seed_series_columns

SERIES = PlanSet("series", "v2.6.34-pre", SEED_SERIES)
TRACES = ("linux61-workload-1cpu", "linux61-boot-1cpu")


def evidence_of(result, state="done"):
    return Evidence(facts_of(result) if result else None, state, None, None)


@pytest.fixture(scope="module")
def seed_steps():
    by_trace = {trace: seed_series_columns(trace) for trace in TRACES}
    columns = [
        PlanColumn(column.label, column.key, SERIES, length)
        for length, column in enumerate(by_trace[TRACES[0]])
    ]
    traces = [
        TraceEvidence(name, name, {each.key: evidence_of(each.result) for each in found})
        for name, found in by_trace.items()
    ]
    return steps_of(stages_of("series", columns), traces, Threshold())


def test_each_patch_of_a_series_is_held_against_the_column_before_it(seed_steps):
    assert [(step.stage.before.label, step.stage.now.label) for step in seed_steps] == [
        ("base", "1"),
        ("1", "1-2"),
        ("1-2", "1-3"),
        ("1-3", "1-4"),
        ("1-4", "1-5"),
        ("1-5", "1-6"),
    ]
    assert [step.stage.patch for step in seed_steps] == list(SEED_SERIES)


def test_what_to_merge_follows_by_rule_from_what_each_patch_does(seed_steps):
    assert [step.merge for step in seed_steps] == [
        *("no effect", "no effect", "do not", "no effect", "no effect", "costs more")
    ]


def test_each_step_is_told_in_a_dozen_words_too(seed_steps):
    told = [step.to_dict()["brief"] for step in seed_steps]
    assert told[0] == "changes nothing"
    assert told[2] == "on linux61-boot-1cpu: the guest sees 64 wrong accesses"
    assert told[5].startswith("costs more")
    assert all(len(text.split()) <= 16 for text in told)
    assert [step.to_dict()["form_of"] for step in seed_steps] == [None] * 6


def test_the_markdown_says_which_to_merge(seed_steps):
    boot = compare(seed_series_columns("linux61-boot-1cpu"))
    text = to_markdown([boot], title="t", command="c", plan="series", steps=seed_steps)
    rows = [line for line in text.splitlines() if line.startswith("| 1")]
    assert [row.split(" | ")[1] for row in rows] == [f"**{step.merge}**" for step in seed_steps]
    assert text.index("Which to merge") < text.index("\n## ")


def test_the_culprit_is_named_with_where_it_enters_and_who_carries_it_on(seed_steps):
    third = seed_steps[2]
    assert [cell.trace.name for cell in third.breaks] == ["linux61-boot-1cpu"]
    assert third.carried_by == ("1-4", "1-5")
    assert third.ended_by == "1-6"
    assert answer("series", seed_steps).startswith(
        "Patch 3 (parent-stop-bit) changes what the guest sees on linux61-boot-1cpu: 32 accesses "
        "reached a wrong address, 32 faults were missed; 1-4, 1-5 carry it on; 1-6 ends it"
    )
    assert seed_steps[5].mends == ("patch 3 (parent-stop-bit)",)
    assert "It enters with column 1-3." in answer("series", seed_steps)


def test_a_headline_has_the_beginning_of_a_long_reason(seed_steps):
    third = seed_steps[2]
    reason = "fails F-U1 at operation 671114 (st vCPU 0 kernel), 3 places: every link; base passes"
    cells = tuple(cell._replace(reason=reason) for cell in third.cells)
    step = dataclasses.replace(third, cells=cells, carried_by=(), ended_by=None)

    assert step.headline == (
        "changes what the guest sees on linux61-boot-1cpu: fails F-U1 at operation 671114"
    )
    assert step.defect.endswith("every link; base passes")


def test_a_patch_that_only_carries_a_defect_on_is_not_blamed_for_it(seed_steps):
    fourth = seed_steps[3]
    assert fourth.to_dict()["carries"] == ["linux61-boot-1cpu"]
    assert fourth.breaks == ()
    assert not fourth.verdict.is_alarming
    assert "leaves what is wrong before it as it is" in fourth.sentence


def test_costs_are_geometric_means_with_the_best_and_the_worst_trace(seed_steps):
    exits, cycles = seed_steps[5].to_dict()["costs"]
    assert (exits["name"], cycles["name"]) == ("exits", "cycles")
    assert exits["trace_count"] == 2
    assert exits["worst"]["trace"] == "linux61-boot-1cpu"
    assert exits["mean"] == pytest.approx((48272 / 47334 * 114347 / 95952) ** 0.5, abs=1e-6)


# --- other plans ----------------------------------------------------------------------------

PAIR = PlanSet("pair", "v2.6.34-pre", ("fix", "tune"))
WRONG = {"semantics": {"missed_fault": 1}, "findings": (make_finding(),), "outcomes": "wrong"}


def judged(plan, columns, results):
    """The steps of a plan on one trace; ``results`` are by label, as ``make_result`` takes them."""
    evidence = {
        column.variant_digest: evidence_of(make_result(variant=column.label, **how))
        for column, how in zip(columns, results, strict=True)
    }
    return steps_of(stages_of(plan, columns), [TraceEvidence("t", "t", evidence)], Threshold())


def ablation(*results):
    labels = ("pair", "without fix", "without tune")
    return judged("ablation", [PlanColumn(each, each, PAIR, None) for each in labels], results)


def test_an_ablation_that_goes_wrong_without_a_patch_says_that_the_others_need_it():
    steps = ablation({}, WRONG, {"counters": {"exits": 99_000}})
    assert [(step.stage.patch, step.merge) for step in steps] == [("fix", "take"), ("tune", "take")]
    told = answer("ablation", steps)
    assert told.startswith("The others need patch 1 (fix): without it t goes wrong")
    assert "no" not in told.split()


def test_an_ablation_where_the_whole_is_wrong_names_the_patch_whose_removal_mends_it():
    steps = ablation(WRONG, WRONG, {})
    assert [step.merge for step in steps] == ["no effect", "do not"]
    assert answer("ablation", steps).startswith("Patch 2 (tune) changes what the guest sees on t")


def test_an_ablation_where_nothing_goes_wrong_says_what_each_patch_saves():
    steps = ablation({}, {"counters": {"exits": 99_000}}, {})
    assert answer("ablation", steps) == (
        "Nothing goes wrong without any one of the patches. It costs more without patch 1 (fix). "
        "Nothing changes without patch 2 (tune)."
    )


def siblings(*results):
    sets = [PlanSet("base", "b", ()), PlanSet("one", "b", ("p",)), PlanSet("two", "b", ("q",))]
    columns = [PlanColumn(each.name, each.name, each, None) for each in sets]
    return judged("each", columns, results)


def test_siblings_are_held_against_their_base_and_told_apart():
    steps = siblings({}, {"counters": {"exits": 200_000}}, {"counters": {"exits": 90_000}})
    assert [(step.stage.patch, step.merge) for step in steps] == [
        ("one", "costs more"),
        ("two", "take"),
    ]
    assert answer("each", steps).startswith("Nothing breaks. one costs more on t: exits +108%")


def test_a_repair_is_to_be_taken_whatever_it_costs():
    (one, _) = siblings(WRONG, {"counters": {"exits": 200_000}}, WRONG)
    assert one.merge == "take"
    assert one.sentence.startswith("repairs t: the guest sees what the real one saw")


@pytest.mark.parametrize("plan", ["matrix", "each"])
def test_another_base_is_no_step_of_a_patch(plan):
    sets = [PlanSet("base", "b", ()), PlanSet("other", "rel35", ("p",))]
    columns = [PlanColumn(each.name, each.name, each, None) for each in sets]
    assert stages_of(plan, columns) == []


def test_a_run_that_is_missing_leaves_the_answer_open():
    columns = [PlanColumn(each, each, PAIR, n) for n, each in enumerate(("base", "1", "1-2"))]
    evidence = {"base": evidence_of(make_result()), "1": evidence_of(make_result())}
    evidence["1-2"] = evidence_of(None, "queued")
    steps = steps_of(stages_of("series", columns), [TraceEvidence("t", "t", evidence)], Threshold())
    assert [step.merge for step in steps] == ["no effect", "unknown"]


def test_two_series_share_one_base():
    sets = [PlanSet("one", "b", ("p",)), PlanSet("two", "b", ("q", "r"))]
    columns = [
        PlanColumn("base", "base", sets[0], 0),
        PlanColumn("one 1", "one 1", sets[0], 1),
        PlanColumn("two 1", "two 1", sets[1], 1),
        PlanColumn("two 1-2", "two 1-2", sets[1], 2),
    ]
    assert [(stage.before.label, stage.now.label) for stage in stages_of("series", columns)] == [
        ("base", "one 1"),
        ("base", "two 1"),
        ("two 1", "two 1-2"),
    ]


def test_steps_are_json(seed_steps):
    document = dataclasses.replace(seed_steps[2]).to_dict()
    assert document["label"] == "1-3"
    assert seed_steps[2].cells[1].kind == "guest-visible-change"
    assert BOOT["base"]["exits"] == 96185


def test_a_step_as_json_does_not_grow_with_the_unremarkable_traces_of_a_batch(seed_steps):
    first = seed_steps[0]
    longer = dataclasses.replace(first, cells=first.cells * 500)

    assert len(str(longer.to_dict())) < len(str(first.to_dict())) + 100


@pytest.mark.parametrize("name", [r"kvm\x", r"\1", r"\g<9>"])
def test_a_name_is_no_template_of_the_reason_it_stands_in(name):
    labels = ("pair", f"{name} without fix")
    columns = [PlanColumn(each, each, PAIR, None) for each in labels]

    [step] = judged("ablation", columns, [{}, WRONG])

    assert f"where {name} without fix is wrong" in step.sentence


LIMITED = PAIR._replace(parameters='{"page_limit": 64}', id="2")


def test_series_that_differ_in_a_parameter_alone_have_each_their_own_base():
    sets = [PAIR, LIMITED]
    columns = [
        PlanColumn(f"{each.id}:{length}", f"{each.id}:{length}", each, length)
        for length in range(3)
        for each in sets
    ]
    assert [(stage.before.label, stage.now.label) for stage in stages_of("series", columns)] == [
        (":0", ":1"),
        ("2:0", "2:1"),
        (":1", ":2"),
        ("2:1", "2:2"),
    ]


def test_a_series_with_another_parameter_has_no_step_against_a_base_without_it():
    columns = [PlanColumn("base", "base", PAIR, 0), PlanColumn("1", "1", LIMITED, 1)]
    assert stages_of("series", columns) == []


def test_ablations_that_differ_in_a_parameter_alone_have_each_their_own_whole():
    columns = [
        PlanColumn(f"{each.id}{label}", f"{each.id}{label}", each, None)
        for each in (PAIR, LIMITED)
        for label in ("pair", " without fix")
    ]
    assert [(stage.before.label, stage.now.label) for stage in stages_of("ablation", columns)] == [
        (" without fix", "pair"),
        ("2 without fix", "2pair"),
    ]


def test_a_sibling_with_another_parameter_is_no_step_of_a_patch():
    sets = [PlanSet("base", "b", ()), PlanSet("one", "b", ("p",), '{"page_limit": 64}', "2")]
    columns = [PlanColumn(each.name, each.name, each, None) for each in sets]
    assert stages_of("each", columns) == []


# --- what an ablation is judged by ----------------------------------------------------------


def ablation_verdict(*results):
    labels = ("pair", "without fix", "without tune")
    columns = [PlanColumn(each, each, PAIR, None) for each in labels]
    evidence = {
        label: evidence_of(make_result(variant=label, **how))
        for label, how in zip(labels, results, strict=True)
    }
    traces = [TraceEvidence("t", "t", evidence)]
    return overall_of(of_ablation(stages_of("ablation", columns), traces, Threshold()))


def test_what_goes_wrong_without_a_patch_is_no_fault_of_the_whole():
    found = ablation_verdict({}, WRONG, {})
    assert (found.status, found.exit_code) == (Verdict.REPAIR, 0)
    assert found.reasons[0].label == "pair beside without fix"
    assert "where without fix is wrong in 1 access" in found.reasons[0].text


def test_a_whole_that_is_wrong_by_itself_is():
    assert ablation_verdict(WRONG, WRONG, {}).exit_code == 1
    assert ablation_verdict(WRONG, WRONG, WRONG).exit_code == 1


def test_a_whole_that_costs_more_than_without_a_patch_does_so():
    found = ablation_verdict({"counters": {"exits": 120_000}}, {}, {})
    assert (found.status, found.exit_code) == (Verdict.REGRESSION, 1)


# --- a matrix, and columns that were chosen one by one ----------------------------------------


def matrix(results, sets=None, axis="tlb"):
    sets = sets or [PlanSet("plain", "b", (), "{}", "1"), PlanSet("mine", "b", ("p",), "{}", "2")]
    columns = [
        PlanColumn(f"{each.name} {axis}={value}", f"{each.name} {axis}={value}", each, None)
        for value in ("on", "off")
        for each in sets
    ]
    return judged("matrix", columns, results)


def test_a_matrix_has_a_step_for_each_patch_set_under_each_value():
    steps = matrix([{}, {"counters": {"exits": 200_000}}, {}, {}])

    assert [(step.stage.before.label, step.stage.now.label) for step in steps] == [
        ("plain tlb=on", "mine tlb=on"),
        ("plain tlb=off", "mine tlb=off"),
    ]
    told = "mine costs more under tlb=on, and has no effect under tlb=off."
    assert answer("matrix", steps) == told


def test_a_matrix_says_under_which_values_a_patch_set_goes_wrong():
    told = answer("matrix", matrix([{}, {}, {}, WRONG]))
    everywhere = answer("matrix", matrix([{}, WRONG, {}, WRONG]))

    assert told.startswith("mine goes wrong under tlb=off: it changes what the guest sees on t")
    assert everywhere.startswith("mine goes wrong under every combination: it changes")


def test_what_a_matrix_varies_need_not_agree_in_the_sets():
    sets = [
        PlanSet("plain", "old", (), '{"page_limit": 9}', "1"),
        PlanSet("mine", "new", ("p",), "{}", "2"),
    ]

    assert matrix([{}] * 4, sets) == []
    assert matrix([{}] * 4, sets, "page-limit") == []
    assert len(matrix([{}] * 4, [each._replace(parameters="{}") for each in sets], "base")) == 2


def test_columns_that_each_have_more_patches_than_the_one_before_are_a_series():
    patches = ((), ("p",), ("p", "q", "r"))
    columns = [
        PlanColumn(str(n), str(n), PlanSet(str(n), "b", each, "{}", str(n)), None)
        for n, each in enumerate(patches)
    ]
    plan, stages = stages_among(columns)

    assert plan == "series"
    assert [(stage.title, stage.before.label) for stage in stages] == [
        ("patch 1 (p)", "0"),
        ("q + r", "1"),
    ]
    assert stages_among([columns[0], columns[2], columns[1]])[0] == "each"
    assert stages_among(columns[:1]) == ("each", [])


def test_a_patch_of_a_kernel_is_told_by_its_number_there_and_its_title():
    own = PlanSet("mine+1+3", "kernel:mine", ("1", "3"), titles=("Say more", "Flush less"))
    columns = [PlanColumn(f"c{end}", f"c{end}", own, end) for end in (0, 1, 2)]
    steps = judged("series", columns, [{}, {}, WRONG])
    assert [step.stage.title for step in steps] == ["patch 1 (Say more)", "patch 3 (Flush less)"]
    assert answer("series", steps).startswith("Patch 3 (Flush less) changes what the guest sees")
    assert steps[1].to_dict()["patch_title"] == "Flush less"
    # One that is gone has a number only.
    gone = [column._replace(patch_set=own._replace(titles=())) for column in columns]
    assert [step.stage.title for step in judged("series", gone, [{}, {}, WRONG])] == [
        "patch 1",
        "patch 3",
    ]
    whole = [PlanColumn(each, each, own, None) for each in ("mine+1+3", "without 1", "without 3")]
    assert judged("ablation", whole, [{}, {}, {}])[1].stage.title == "patch 3 (Flush less)"
