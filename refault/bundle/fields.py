"""Fields of a stranger's JSON: each has its type, its bounds, and a name that errors tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from refault.bundle.layout import DIGEST
from refault.errors import BundleError
from refault.printable import first_unprintable

_TEXT_MAX = 20_000
_COUNT_MAX = (1 << 63) - 1
_SHOWN_MAX = 60


def shown(value: object) -> str:
    """A value as an error tells it: short, and nothing a terminal obeys."""
    # Of a long list or text no more is written out than is shown.
    if isinstance(value, str):
        return ascii(value[:_SHOWN_MAX])
    return ascii(value)[:_SHOWN_MAX] if isinstance(value, bool | float | None) else _kind(value)


def _kind(value: object) -> str:
    is_small = isinstance(value, int) and abs(value) <= _COUNT_MAX
    return str(value) if is_small else f"a value of type {type(value).__name__}"


def digest_of(value: object, place: str) -> str:
    """A sha256 in lower-case hex."""
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise BundleError(f"{place}: expected a sha256 in lower-case hex, got {shown(value)}")
    return value


def count_of(value: object, place: str, *, least: int = 0) -> int:
    """A whole number from ``least`` to 2^63 - 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _COUNT_MAX:
        raise BundleError(
            f"{place}: expected a whole number from {least} to {_COUNT_MAX}, got {shown(value)}"
        )
    return value


def index_of(value: object, count: int, place: str, things: str) -> int:
    """The index of one of so many things, from 0."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise BundleError(f"{place}: {shown(value)} is none of the {count} {things}, from 0")
    return value


def text_of(value: object, place: str, *, lines: bool = False) -> str:
    """A printable text of bounded length, on one line unless it may have several."""
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise BundleError(f"{place}: expected a text of at most {_TEXT_MAX:,} characters")
    if first_unprintable(value, lines=lines) is not None:
        raise BundleError(f"{place}: the text has unprintable characters")
    return value


def list_of(value: object, place: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise BundleError(f"{place}: expected a list, got {shown(value)}")
    return value


def texts_of(fields: Mapping[str, Any], place: str, *optional: str) -> dict[str, Any]:
    """Fields that are all texts; the ``optional`` ones may be null."""
    return {
        name: None if value is None and name in optional else text_of(value, f"{place}.{name}")
        for name, value in fields.items()
    }


def fields_of(body: object, kind: type, place: str, *later: str) -> dict[str, Any]:
    """The fields of a dataclass, all of them and no other; ``later`` ones may be absent: null."""
    names = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(body, Mapping) or not names - set(later) <= set(body) <= names:
        raise BundleError(f"{place}: expected an object with {', '.join(sorted(names))}")
    return dict.fromkeys(later) | dict(body)
