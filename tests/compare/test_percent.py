from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.compare.percent import change_text, percent_text, signed_percent


@pytest.mark.parametrize(
    ("delta", "base", "text"),
    [
        (0, 5, "0%"),
        (-233, 96185, "-0.24%"),
        (18162, 96185, "+18.9%"),
        (7071, 5275, "+134%"),
        (-18, 18, "-100%"),
        (1, 0, None),
        (0, 0, None),
        (1, 10**9, "0.00%"),
        (-1, 10**9, "0.00%"),
        (5, 100_000, "+0.01%"),  # a half is rounded away from zero
        (-5, 100_000, "-0.01%"),
        (994, 100_000, "+0.99%"),
        (995, 100_000, "+1.0%"),
        (99_949, 100_000, "+99.9%"),
        (99_950, 100_000, "+100%"),
        (3, -4, "-75.0%"),
    ],
)
def test_percent_is_rounded_where_it_says(delta, base, text):
    assert percent_text(delta, base) == text


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 2**63 - 1))
def test_percent_is_within_half_a_digit_of_the_truth(delta, base):
    text = percent_text(delta, base)
    shown = Fraction(text.removesuffix("%"))
    digits = len(text.removesuffix("%").partition(".")[2])
    assert abs(shown - Fraction(100 * delta, base)) <= Fraction(1, 2 * 10**digits)
    assert shown == 0 or text[0] == ("+" if delta > 0 else "-")


@given(st.floats(-1e6, 1e6), st.integers(0, 3))
def test_no_sign_stands_before_a_zero(percent, decimals):
    text = signed_percent(percent, decimals)

    assert (text[0] in "+-") == (Fraction(text) != 0)
    assert abs(Fraction(text) - Fraction(percent)) <= Fraction(6, 10 ** (decimals + 1))


def test_a_change_has_its_sign():
    assert [change_text(delta) for delta in (-233, 0, 18162)] == ["-233", "0", "+18,162"]
