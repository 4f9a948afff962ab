"""Plain text in a fixed number of columns: widths, wrapping, grids and shell commands.

Widths are those of a terminal: a wide East Asian character takes two columns,
a combining mark none.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Sequence

#: Narrower than this, a table's label and one number no longer fit.
WIDTH_MIN = 48
#: A spreadsheet takes a cell that begins so for a formula.
_FORMULA_SIGNS = ("=", "+", "-", "@")


def printable(text: str) -> str:
    """The text with a question mark for each character that moves a terminal's cursor."""
    return "".join(
        "?"
        if unicodedata.category(char)[0] == "C" or unicodedata.category(char) in {"Zl", "Zp"}
        else char
        for char in text
    )


def clean(text: str) -> str:
    """The text on one printable line, its words one blank apart."""
    return printable(" ".join(unicodedata.normalize("NFC", text).split()))


def csv_cell(text: str) -> str:
    """User text for a table of a spreadsheet, on one line and never taken for a formula."""
    shown = clean(text)
    return f"'{shown}" if shown.startswith(_FORMULA_SIGNS) else shown


def display_width(text: str) -> int:
    """How many columns the text takes in a terminal."""
    return sum(_char_width(char) for char in text)


def wrap(text: str, width: int, *, first: str = "", indent: str = "") -> list[str]:
    """The text in lines of at most ``width`` columns; words longer than a line are cut.

    ``first`` stands before the first line, ``indent`` before every other.
    """
    lines: list[str] = []
    line, is_empty = first, True
    for word in clean(text).split(" "):
        rest = word
        while rest:
            gap = "" if is_empty else " "
            if display_width(line + gap + rest) <= width:
                line, rest, is_empty = line + gap + rest, "", False
            elif not is_empty:
                lines.append(line)
                line, is_empty = indent, True
            else:
                head = _head(rest, max(2, width - display_width(line)))
                lines.append(line + head)
                line, rest = indent, rest[len(head) :]
    if not is_empty or not lines:
        lines.append(line)
    return [kept.rstrip() for kept in lines]


def counted(count: int, noun: str) -> str:
    """A count with its noun, grouped as in tables: ``1 run``, ``12 runs``, ``1,855 accesses``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"


def right(text: str, width: int) -> str:
    """The text at the right edge of a cell."""
    return " " * (width - display_width(text)) + text


def left(text: str, width: int) -> str:
    """The text at the left edge of a cell."""
    return text + " " * (width - display_width(text))


def panels(
    widths: Sequence[int], label_width: int, width: int, *, repeats_first: bool
) -> list[list[int]]:
    """Which columns of a table go side by side.

    With ``repeats_first`` column 0 opens every panel. A panel has at least one
    column of its own, even if it is too wide.
    """
    first = [0] if repeats_first else []
    rest = list(range(len(first), len(widths)))
    found: list[list[int]] = []
    while rest or not found:
        panel = list(first)
        used = label_width + sum(1 + widths[place] for place in first)
        while rest and (len(panel) == len(first) or used + 1 + widths[rest[0]] <= width):
            used += 1 + widths[rest[0]]
            panel.append(rest.pop(0))
        found.append(panel)
    return found


def shell_command(words: Sequence[str], width: int) -> list[str]:
    """A command in lines of at most ``width`` columns that a shell reads as the same words.

    Words are moved to continuation lines; a word longer than a line is quoted
    and cut, and goes on in column 0, where the shell glues it together.
    """
    lines: list[str] = []
    line = ""
    room = width - 2  # for " \\"
    for word in map(printable, words):
        quoted = shlex.quote(word)
        start = f"{line} " if line else ""
        if line and display_width(start + quoted) > room:
            lines.append(f"{line} \\")
            start = "  "
        if display_width(start + quoted) <= room:
            line = start + quoted
            continue
        pieces = _pieces(word, room - len(start))
        lines.append(f"{start}{pieces[0]}\\")
        lines.extend(f"{piece}\\" for piece in pieces[1:-1])
        line = pieces[-1]
    return [*lines, line]


_BARS = "▁▂▃▄▅▆▇█"


def bars(values: Sequence[int]) -> str:
    """A curve as a line of bars, one a value, between 0 and the lowest and highest of them."""
    low, high = min(0, *values), max(0, *values)
    steps = len(_BARS) - 1
    return "".join(_BARS[round(steps * (each - low) / ((high - low) or 1))] for each in values)


def _pieces(word: str, room: int) -> list[str]:
    """The word cut into at least two quoted parts of at most ``room`` columns."""
    pieces: list[str] = []
    rest = word
    while rest:
        count = max(1, len(rest) - (not pieces))
        while display_width(shlex.quote(rest[:count])) > room and count > 1:
            count -= 1
        if count < len(rest):
            # Better after a sign that joins words than in the middle of one.
            count = next((n for n in range(count, count // 2, -1) if rest[n - 1] in "+,/="), count)
        pieces.append(shlex.quote(rest[:count]))
        rest = rest[count:]
    return pieces


def _head(text: str, width: int) -> str:
    used = 0
    for place, char in enumerate(text):
        used += _char_width(char)
        if used > width and place:
            return text[:place]
    return text


def _char_width(char: str) -> int:
    if unicodedata.category(char)[0] == "M":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
