"""Fields of a stored document, checked: it is trusted no more than any other input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refault.errors import ResultError

#: One more than the largest count.
WORD_LIMIT = 1 << 64
_INT64 = range(-(1 << 63), 1 << 63)
_DIGEST_LENGTH = 64


def is_int(value: object) -> bool:
    """Whether it is a whole number, and not true or false."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_count(value: object, place: str) -> None:
    """Raise ResultError unless it is a number from 0 below 2^64."""
    if not (isinstance(value, int) and is_int(value) and 0 <= value < WORD_LIMIT):
        raise ResultError(f"{place}: expected a count, got {value!r}")


def check_digest(value: object, place: str) -> None:
    """Raise ResultError unless it is a sha256, hex."""
    if (
        not isinstance(value, str)
        or len(value) != _DIGEST_LENGTH
        or value.strip("0123456789abcdef")
    ):
        raise ResultError(f"{place}: expected a sha256 in lower-case hex, got {value!r}")


def numbers_of(given: Mapping[str, int], names: tuple[str, ...], place: str) -> dict[str, int]:
    """Numbers of 64 bits under exactly these names, in their order; raises ResultError."""
    check_names(given, names, place)
    numbers = {name: given[name] for name in names}
    for name, value in numbers.items():
        if not (is_int(value) and value in _INT64):
            raise ResultError(f"{place}.{name}: expected a 64-bit integer, got {value!r}")
    return numbers


def fields_of(body: object, names: tuple[str, ...], place: str) -> dict[str, Any]:
    """The values under exactly these names, in their order; raises ResultError."""
    if not isinstance(body, Mapping):
        raise ResultError(f"{place}: expected an object, got {type(body).__name__}")
    check_names(body, names, place)
    return {name: body[name] for name in names}


def check_names(given: Mapping[Any, Any], names: tuple[str, ...], place: str) -> None:
    """Raise ResultError, naming what is absent or unknown, unless the names are these."""
    if given.keys() == set(names):
        return
    absent = [name for name in names if name not in given]
    if absent:
        raise ResultError(f"{place}: {', '.join(absent)} absent")
    unknown = sorted(str(name) for name in given if name not in names)
    if unknown:
        raise ResultError(f"{place}: {', '.join(unknown)} unknown")


def hexadecimal(word: int | None) -> str | None:
    """A word as JSON has it."""
    return None if word is None else hex(word)


def from_hexadecimal(text: object, place: str) -> int | None:
    """The word that was written so; raises ResultError."""
    if text is None:
        return None
    if isinstance(text, str) and text.startswith("0x"):
        try:
            return int(text, 16)
        except ValueError:
            pass
    raise ResultError(f"{place}: expected a hexadecimal word such as 0x1000, got {text!r}")


def in_order_of_keys(value: object) -> object:
    """The same with the keys of every object sorted."""
    if isinstance(value, dict):
        return {key: in_order_of_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [in_order_of_keys(item) for item in value]
    return value
