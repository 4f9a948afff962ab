import unicodedata

import pytest

from refault.printable import first_unprintable, name_of, printable

NONCHARACTERS = {*range(0xFDD0, 0xFDF0)} | {
    plane << 16 | low for plane in range(0x11) for low in (0xFFFE, 0xFFFF)
}
BIDIRECTIONAL = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def test_exactly_what_unicode_calls_control_surrogate_separator_or_noncharacter_is_unprintable():
    for code in range(0x110000):
        is_refused = (
            unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp")
            or code in NONCHARACTERS
            or code in BIDIRECTIONAL
        )
        assert (first_unprintable(chr(code)) == 0) is is_refused, hex(code)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("boot, 1 vCPU – café 日本 🐧", "boot, 1 vCPU – café 日本 🐧"),
        ("a\x01", "a\\x01"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\ud800", "\\ud800"),
        ("\ufffe\uffff", "\\ufffe\\uffff"),
        ("\U0010ffff", "\\U0010ffff"),
        ("a\u202eb", "a\\u202eb"),
        ("one\ntwo\t", "one\\ntwo\\t"),
    ],
)
def test_what_may_not_be_shown_becomes_an_escape(text, shown):
    assert printable(text) == shown
    assert first_unprintable(printable(text)) is None


def test_a_text_of_several_lines_keeps_its_newlines_and_tabs():
    assert printable("one\n\ttwo\r\n", lines=True) == "one\n\ttwo\\r\n"
    assert first_unprintable("one\n\ttwo", lines=True) is None
    assert first_unprintable("one\n\ttwo") == 3


def test_a_message_names_the_code_point():
    assert name_of("\x1b") == "U+001B"
    assert name_of("\U0010ffff") == "U+10FFFF"
