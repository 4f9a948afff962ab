"""The sentence at the top of a batch's page, for each plan."""

import pytest

from services.dashboard.conclusion import conclusion
from services.dashboard.formats import with_minus


def document_of(verdict="regression", label="other", *, plan="each", answer=None, **how):
    """A comparison of two columns on one trace; ``how`` changes the second column."""
    reason = {
        "verdict": verdict,
        "trace_name": "boot",
        "trace_digest": "t",
        "label": label,
        "variant_digest": "1",
        "text": "exits +2.0%; but parent_marks -29.1%",
    }
    columns = [
        {"patch_set_id": "a", "variant": {"digest": "0", "engine": "shadow"}},
        {
            "patch_set_id": how.get("set", "a"),
            "variant": {"digest": "1", "engine": how.get("engine", "shadow")},
        },
    ]
    return {
        "answer": answer,
        "batch": {
            "plan": plan,
            "patch_sets": [{"id": "a", "base": "v1"}, {"id": "b", "base": "rel35"}],
            "columns": columns,
        },
        "overview": {
            "columns": [
                {"label": "base", "labels": ["base"], "variant_digest": "0"},
                {"label": label, "labels": [label], "variant_digest": "1"},
            ],
            "traces": [{"verdicts": how.get("verdicts", ["base", verdict])}],
            "worst": reason,
        },
        "verdict": {
            "status": verdict,
            "exit_code": how.get("exit_code", 1),
            "reasons": [reason],
            "reason_count": 1,
        },
    }


def told(document):
    return conclusion(document, lambda digest: f"#{digest}", is_running=False)


def test_one_thing_costs_and_several_patches_cost():
    assert told(document_of())["sentence"] == "other costs more on boot."
    assert told(document_of())["why"].startswith("exits +2.0%")
    assert told(document_of(label="1"))["sentence"].startswith("Patch 1 costs more on boot")
    assert told(document_of(label="1-3"))["sentence"].startswith("Patches 1-3 cost more on boot")


def test_the_answer_of_the_plan_stands_first_where_all_is_known():
    known = document_of(answer="Patch 3 (p) costs more.", plan="series")
    assert told(known)["sentence"] == "Patch 3 (p) costs more."
    assert not told(known)["why"]
    alarmed = document_of("integrity", answer="Patch 3 (p) costs more.", plan="series")
    assert told(alarmed)["sentence"].startswith("other cannot be trusted")


def test_another_base_or_engine_does_not_read_as_if_a_patch_did_it():
    sentence = told(document_of(set="b"))["sentence"]
    assert sentence.endswith(" It has another base (rel35): no patch alone did it.")
    sentence = told(document_of(engine="kernel"))["sentence"]
    assert sentence.endswith(" It is computed by another engine (kernel): no patch did it.")
    matrix = told(document_of(set="b", plan="matrix"))
    assert matrix["sentence"] == "other costs more on boot."
    assert matrix["why"].endswith("−29.1%")


def test_an_ablation_whose_whole_is_sound_does_not_say_no():
    box = told(document_of("repair", plan="ablation", exit_code=0, answer="The others need p."))
    assert box["sentence"] == "The others need p."
    assert box["exit"] == "the whole is no worse than without any of its patches"
    assert box["tone"] == "less"


def test_what_is_wrong_with_the_base_is_counted_apart_from_what_is_compared_with_it():
    broken = "broken-invariant"
    box = told(document_of(broken, verdicts=[broken, "repair", broken]))
    assert box["more"] == (
        "Of 2 cells compared with the base: 1 repaired, 1 with a broken invariant. "
        "The base itself, on 1 trace: 1 with a broken invariant."
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("exits -0.24%; parent_marks -5", "exits −0.24%; parent_marks −5"),
        ("Patches 1-3 on linux61-boot-1cpu", "Patches 1-3 on linux61-boot-1cpu"),
        ("v2.6.34-pre", "v2.6.34-pre"),
    ],
)
def test_a_minus_is_the_sign_of_numbers_and_no_hyphen_of_names(text, shown):
    assert with_minus(text) == shown
