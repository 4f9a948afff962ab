"""The section on a kernel of today: here engine walk stands beside the model, as another engine."""

import pytest

from refault.audits import Level
from refault.catalogue import patch_set_from_text, resolve
from refault.thread.data import to_dict
from refault.thread.review import reviewed
from refault.thread.sections import document
from refault.thread.text import to_text
from tests.thread.running import benches

VECTOR = "s29_lost_mark"


@pytest.fixture(scope="module")
def review():
    with benches(VECTOR) as opened:
        other = resolve(patch_set_from_text("walk"))
        return reviewed(opened, Level("flush"), kernel=other, kernel_name="mine")


def test_it_says_whether_the_outcomes_agree_and_what_makes_the_numbers(review):
    section = to_text(document(review)).partition("A kernel of today in the same place")[2]
    assert f"{VECTOR}: walk: as witnessed; every outcome equals" in section
    assert "-v base -v kernel:mine" in section.replace("\\\n   ", "")
    [own] = to_dict(review)["kernel"]["traces"]
    assert (own["trace"], own["verdict"]) == (VECTOR, "witnessed")


def test_the_patches_are_judged_as_without_it(review):
    with benches(VECTOR) as opened:
        alone = reviewed(opened, Level("flush"))
    assert [each.posted.verdict for each in alone.patches] == [
        each.posted.verdict for each in review.patches
    ]
    assert to_dict(alone)["kernel"] is None
    assert "No kernel was named" in to_text(document(alone))
