"""What a matrix varies, as a form has it: ``axis-page-limit=64,none``, the words of ``--axis``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from refault.errors import InvalidRequest

PREFIX = "axis-"
BASE = "base"
_LENGTH_MAX = 400
_SEPARATORS = re.compile(r"[\s,]+")
_NUMBER = re.compile("[0-9]{1,18}")


class Axis(NamedTuple):
    """A field of the form: its name after the prefix, what it is, and values as an example."""

    name: str
    title: str
    example: str


#: Beside the bases, which are chosen from a list.
NUMBERS = (
    Axis("page-limit", "Page limit", "none, 256, 64"),
    Axis("bypass", "Bypass", "0, 1"),
    Axis("host-page-level", "Host pages", "1, 2"),
    Axis("tlb", "TLB", "0, 1"),
    Axis("tdp", "TDP", "0, 1"),
)
"""``tdp`` is of kernels only; the catalogue refuses it elsewhere, and the estimate says so."""

Axes = tuple[tuple[str, str], ...]
"""Name and values of each axis that is given, as the form has them."""


def axes_of(fields: Mapping[str, Sequence[str]]) -> Axes:
    """What a form or an address says of the axes; bases are several fields of one name."""
    found = []
    for name in (BASE, *(axis.name for axis in NUMBERS)):
        words = [word for text in fields.get(f"{PREFIX}{name}", ()) for word in _words(text)]
        if words:
            found.append((name, ",".join(dict.fromkeys(words))))
    return tuple(found)


def asked(axes: Axes) -> dict[str, list[Any]] | None:
    """The axes as the API takes them; None where there are none.

    Raises:
        InvalidRequest: a value that is none, with its axis.
    """
    return {
        name.replace("-", "_"): [_value(name, word) for word in text.split(",")]
        for name, text in axes
    } or None


def words_of(axes: Axes) -> list[str]:
    """The words of the command line that mean the same."""
    return [word for name, text in axes for word in ("--axis", f"{name}={text}")]


def _words(text: str) -> list[str]:
    return [word for word in _SEPARATORS.split(text[:_LENGTH_MAX].strip()) if word]


def _value(name: str, word: str) -> str | int | None:
    if name == BASE:
        return word
    if word == "none":
        return None
    if _NUMBER.fullmatch(word):
        return int(word)
    raise InvalidRequest(f"{name}: expected numbers or none with commas between, got {word:.40}")
