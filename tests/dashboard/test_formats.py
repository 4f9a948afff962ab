import pytest

from refault.compare import Verdict
from services.dashboard import formats
from services.dashboard.verdicts import SENTENCES, TALLIES, shown


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (4812733, "4,812,733"), (-1500, "−1,500"), (None, "–")],
)
def test_counts_are_grouped(number, text):
    assert formats.grouped(number) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (912_384, "891.0 KiB"),
        (5 * 1024**3, "5.0 GiB"),
        (3 * 1024**5, "3072.0 TiB"),
    ],
)
def test_sizes_have_the_largest_unit_that_fits(size_bytes, text):
    assert formats.size(size_bytes) == text


def test_times_are_utc_to_the_minute():
    assert formats.moment("2026-11-04T09:05:59.412Z") == "4 Nov 2026, 09:05 UTC"


@pytest.mark.parametrize(
    ("delta", "percent", "text"),
    [
        (18162, "+134%", "▲ +18,162 (+134%)"),
        (-233, "-0.24%", "▼ −233 (−0.24%)"),
        (5, None, "▲ +5"),
    ],
)
def test_changes_have_an_arrow_a_sign_and_a_percentage(delta, percent, text):
    assert formats.change(delta, percent) == text


def test_every_verdict_has_a_word_a_sign_and_a_sentence():
    for verdict in Verdict:
        assert all(shown(verdict.value))
    told = set(Verdict) - {Verdict.BASE}
    assert set(SENTENCES) == told
    assert set(TALLIES) == told - {Verdict.MISSING}


@pytest.mark.parametrize(
    ("number", "text"), [(0, "="), (18_162, "+18,162"), (-3, "\N{MINUS SIGN}3")]
)
def test_a_difference_has_a_sign_and_none_is_an_equals_sign(number, text):
    assert formats.difference(number) == text
