"""What the rules say of guests that come to the point, and of guests that do not."""

import pytest

from refault.audits import Level
from refault.thread.evidence import Standing
from refault.thread.review import reviewed, variants_of
from refault.thread.rules import moved_text
from refault.thread.sections import document
from refault.thread.text import to_text
from refault.thread.topics import VECTORS
from refault.thread.verdicts import Mark
from tests.thread.running import ROOT, benches

QUIET = "s01_first_touch"
LOST_MARK, TOGGLE = "s29_lost_mark", "s13_pge_toggle"
FREED, PINNED = "s10a_bucket_bug", "s19a_shrink_limit_in_use"


@pytest.fixture(scope="module")
def reviews():
    """The review of each vector alone."""
    found = {}
    for name in (QUIET, LOST_MARK, TOGGLE, FREED, PINNED):
        with benches(name) as opened:
            found[name] = reviewed(opened, Level("flush"))
    return found


def patch(review, number):
    [found] = [each for each in review.patches if each.topic.number == number]
    return found


def standing(review, number, beginning):
    """What became of the objection that begins so."""
    [found] = [
        each.answer.standing
        for each in patch(review, number).objections
        if each.objection.said.startswith(beginning)
    ]
    return found


def mark(review, number, text):
    [found] = [form for form in patch(review, number).forms if form.form.text == text]
    return found.verdict.mark


@pytest.mark.parametrize(
    ("vector", "number", "beginning", "expected"),
    [
        (LOST_MARK, 3, "The optimization looks good", Standing.REFUTED),
        (QUIET, 3, "The optimization looks good", Standing.NOT_SEEN),
        (LOST_MARK, 3, "This walking code already", Standing.BORNE_OUT),
        (LOST_MARK, 3, "A sync of one page", Standing.BORNE_OUT),
        (QUIET, 3, "A sync of one page", Standing.NOT_SEEN),
        (LOST_MARK, 3, "Perhaps it can be done", Standing.BORNE_OUT),
        (LOST_MARK, 3, "The original code has a bug", Standing.REFUTED),
        (LOST_MARK, 3, "Please separate", Standing.NOT_MEASURED),
        (FREED, 2, "I don't understand", Standing.REFUTED),
        (QUIET, 2, "I don't understand", Standing.NOT_SEEN),
        (FREED, 2, "Change the assignment", Standing.BORNE_OUT),
        (PINNED, 2, "It is safer to check", Standing.REFUTED),
        (QUIET, 2, "It is safer to check", Standing.NOT_SEEN),
        (PINNED, 2, "A root in use", Standing.BORNE_OUT),
        (QUIET, 2, "A root in use", Standing.NOT_SEEN),
        (TOGGLE, 4, "The fast path returns", Standing.BORNE_OUT),
        (QUIET, 4, "The fast path returns", Standing.NOT_SEEN),
        (QUIET, 4, "CR3's pages can be found", Standing.NOT_SEEN),
        (QUIET, 5, "Just use bool", Standing.BORNE_OUT),
        (QUIET, 6, "Will this ever happen", Standing.NOT_SEEN),
        (LOST_MARK, 6, "Will this ever happen", Standing.IN_PART),
    ],
)
def test_an_objection_stands_as_the_guest_shows(reviews, vector, number, beginning, expected):
    assert standing(reviews[vector], number, beginning) is expected


@pytest.mark.parametrize(
    ("vector", "number", "text", "expected"),
    [
        (QUIET, 1, "p1", Mark.IDENTICAL),
        (LOST_MARK, 3, "p3", Mark.UNSOUND),
        (LOST_MARK, 3, "p3count", Mark.UNSOUND),
        (TOGGLE, 4, "p4", Mark.UNSOUND),
        (FREED, 2, "p2", Mark.REPAIRS),
        (FREED, 2, "p2empty", Mark.STILL),
        (PINNED, 2, "p2", Mark.STILL),
        (PINNED, 2, "p2merged", Mark.REPAIRS),
        (QUIET, 5, "p5bool", Mark.IDENTICAL),
    ],
)
def test_a_form_is_judged_by_soundness_first(reviews, vector, number, text, expected):
    assert mark(reviews[vector], number, text) is expected


@pytest.mark.parametrize(
    ("vector", "number", "expected"),
    [
        (LOST_MARK, 3, Standing.REFUTED),
        (QUIET, 3, Standing.NOT_SEEN),
        (TOGGLE, 4, Standing.REFUTED),
        (QUIET, 4, Standing.NOT_SEEN),
        (FREED, 2, Standing.BORNE_OUT),
        (QUIET, 2, Standing.NOT_SEEN),
        (QUIET, 1, Standing.BORNE_OUT),
        (QUIET, 5, Standing.IN_PART),
    ],
)
def test_a_claim_stands_as_the_guest_shows(reviews, vector, number, expected):
    assert patch(reviews[vector], number).claim.standing is expected


def test_the_made_sound_form_of_patch_3_keeps_what_the_posted_one_breaks(reviews):
    for text in ("p3fix", "p2+p3m1+p3m2+p3m3"):
        assert mark(reviews[LOST_MARK], 3, text) not in {Mark.UNSOUND, Mark.OTHERWISE}


def test_counters_of_a_run_that_ended_early_are_not_compared(reviews):
    [form] = [f for f in patch(reviews[PINNED], 2).forms if f.form.text == "p2merged"]
    assert all(not cell.is_comparable for cell in form.cells)
    assert "costs" not in form.verdict.reason


def test_why_a_check_fails_is_told_with_its_finding_only(reviews):
    reason = "its parents keep"
    assert reason in to_text(document(reviews[LOST_MARK]))
    assert reason not in to_text(document(reviews[QUIET]))


def test_what_a_patch_breaks_is_a_sentence(reviews):
    told = patch(reviews[LOST_MARK], 3).posted.verdict.reason
    assert "fails at operation 1044 and 3 more checks fail later." in told
    assert moved_text(0) == "exits do not change"
    assert moved_text(-1723) == "exits change by -1,723 over all traces"
    text = " ".join(to_text(document(reviews[LOST_MARK])).split())
    assert "How it is written." in text
    assert "change by +0" not in text
    assert "the register was" not in text


def test_a_vector_named_for_a_point_shows_it(reviews):
    """The report sends a reader there where the traces do not come to the point."""
    for each in reviews[QUIET].patches:
        for objection in each.topic.objections:
            if objection.elsewhere:
                path = ROOT / objection.elsewhere
                assert path.parent == ROOT / VECTORS
                review = reviews[path.name.partition(".")[0]]
                assert standing(review, each.topic.number, objection.said) in {
                    Standing.BORNE_OUT,
                    Standing.REFUTED,
                }


def test_every_variant_of_the_report_is_one_that_the_catalogue_makes():
    variants = variants_of()
    assert {"base", "p2", "p3", "p4", "p6", "series"} <= variants.keys()
    assert len({variant.digest for variant in variants.values()}) <= len(variants)
