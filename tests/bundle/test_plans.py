"""A bundle is judged by its plan, as the service that made it judges the batch."""

import dataclasses
import io
import json

import pytest

from refault.bundle import BundleWriter, Cell, Head, HeadColumn, HeadSet, layout
from refault.compare import Threshold
from refault.errors import BundleError
from tests.builders import digest_of, make_finding, make_result, seed_series_columns
from tests.bundle.test_bundle import cells_of, changed, checked, head_of, made, text_of

WRONG = {"semantics": {"missed_fault": 1}, "findings": (make_finding(),), "outcomes": "wrong"}
PAIR = HeadSet("pair", "v2.6.34-pre", ("fix", "tune"))


def bundle_of(plan, labels, results, *, sets=(PAIR,), lengths=None, base=0) -> bytes:
    """A bundle of one trace; ``results`` are what ``make_result`` takes, in the labels' order."""
    lengths = [None] * len(labels) if lengths is None else lengths
    digests = [digest_of(f"{place} {label}") for place, label in enumerate(labels)]
    head = Head(
        code="b-7k3f",
        title="Pair: batch b-7k3f",
        plan=plan,
        state="done",
        created_at="2026-11-30T09:00:00+00:00",
        finished_at=None,
        command=("refault", "replay"),
        base=base,
        columns=tuple(
            HeadColumn(label, digest, label, None, "shadow", label, 0, length)
            for label, digest, length in zip(labels, digests, lengths, strict=True)
        ),
        threshold=Threshold(),
        patch_sets=sets,
    )
    stream = io.BytesIO()
    writer = BundleWriter(stream, head)
    found = [
        dataclasses.replace(make_result(**how), variant_digest=digest)
        for digest, how in zip(digests, results, strict=True)
    ]
    trace = "linux61-boot-1cpu"
    writer.add(trace, digest_of(trace), [Cell("done", result=each) for each in found])
    writer.close()
    return stream.getvalue()


ABLATION = ("pair", "without fix", "without tune")


def test_an_ablation_is_judged_by_its_steps_and_not_by_its_cells():
    data = bundle_of("ablation", ABLATION, [{}, WRONG, {}])
    found = checked(data)

    assert found.problems == []
    assert (found.verdict, found.exit_code) == ("repair", 0)
    text = text_of(data, "comparison.txt")
    assert "The others need patch 1 (fix): without it" in " ".join(text.split())
    assert "Which to merge, each against the column without it" in text
    assert "patch 1 (fix)" in text_of(data, "index.html")


def test_an_ablation_against_another_column_is_judged_by_its_cells():
    found = checked(bundle_of("ablation", ABLATION, [{}, WRONG, {}], base=2))

    assert (found.problems, found.exit_code) == ([], 1)


def test_a_series_says_which_patch_it_is():
    text = " ".join(text_of(made(), "comparison.txt").split())
    page = text_of(made(), "index.html")

    assert "Patch 3 (" in text
    assert "It enters with column 1-3." in text
    assert 'id="steps"' in page


def test_two_machines_of_one_label_are_told_apart():
    data = bundle_of("each", ("same", "same"), [{}, {"counters": {"exits": 200_000}}])

    assert checked(data).problems == []
    manifest = json.loads(text_of(data, layout.MANIFEST))
    manifest["traces"][0]["verdicts"][1]["verdict"] = "improvement"
    found = checked(changed(data, layout.MANIFEST, json.dumps(manifest)))
    assert len([each for each in found.problems if "by its results regression" in each]) == 1


def test_two_verdicts_on_one_column_are_found():
    data = made()
    manifest = json.loads(text_of(data, layout.MANIFEST))
    told = manifest["traces"][0]["verdicts"]
    told.append(dict(told[0]))

    found = checked(changed(data, layout.MANIFEST, json.dumps(manifest)))

    assert any("two verdicts on one column" in problem for problem in found.problems)


def test_a_bundle_of_version_1_is_read_as_one_whose_patch_sets_are_not_told():
    manifest = json.loads(text_of(made(), layout.MANIFEST))
    manifest |= {"version": 1, "made_by": "refault 0.1 (before)"}
    del manifest["batch"]["patch_sets"]
    for column in manifest["batch"]["columns"]:
        del column["patch_set"], column["prefix_length"]

    found = checked(changed(made(), layout.MANIFEST, json.dumps(manifest)))

    assert (found.problems, found.head.stages, found.cells) == ([], [], 14)


def test_what_a_traces_numbers_cannot_say_is_carried():
    stream = io.BytesIO()
    columns = seed_series_columns("linux61-boot-1cpu")
    writer = BundleWriter(stream, head_of(columns))
    trace = digest_of("linux61-boot-1cpu")
    limits = ("real addresses, synthetic tables",)
    writer.add("linux61-boot-1cpu", trace, cells_of(columns), limits)
    writer.close()
    data = stream.getvalue()

    assert checked(data).problems == []
    assert "real addresses, synthetic tables" in text_of(data, "comparison.txt")
    assert "real addresses, synthetic tables." in text_of(data, "traces/001.html")
    assert json.loads(text_of(data, "traces/001.json"))["trace"]["limits"] == list(limits)


MINE = HeadSet("mine+1..2", "kernel:mine", ("1", "2"), titles=("Zap less", "Flush less"))
PREFIXES = ("mine", "mine+1", "mine+1..2")


def test_patches_of_a_kernel_are_told_by_number_and_title():
    data = bundle_of("series", PREFIXES, [{}, {}, WRONG], sets=(MINE,), lengths=[0, 1, 2])
    found = checked(data)

    assert (found.problems, found.exit_code) == ([], 1)
    assert found.head.patch_sets == (MINE,)
    assert "Patch 2 (Flush less)" in " ".join(text_of(data, "comparison.txt").split())
    assert "Flush less" in text_of(data, "index.html")


def test_a_bundle_without_such_titles_is_one_that_older_programs_read():
    assert json.loads(text_of(made(), layout.MANIFEST))["version"] == layout.UNTITLED_VERSION


def test_titles_of_other_patches_than_the_set_has_are_refused():
    data = bundle_of("series", PREFIXES, [{}, {}, WRONG], sets=(MINE,), lengths=[0, 1, 2])
    manifest = json.loads(text_of(data, layout.MANIFEST))
    assert manifest["version"] == layout.VERSION
    manifest["batch"]["patch_sets"][0]["titles"] = ["Zap less"]

    with pytest.raises(BundleError, match="titles: 1 of 2 patches"):
        checked(changed(data, layout.MANIFEST, json.dumps(manifest)))
