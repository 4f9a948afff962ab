"""Checks the text of every request: unprintable characters are refused, with their place.

One check per request of everything but the body (:func:`refused_in`), and one of every body
(:class:`services.api.schemas.Body`), so that new parameters and fields are covered.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from refault.printable import first_unprintable, name_of, printable

Place = tuple[str | int, ...]
# A place as a linked list: its last step, and the steps before.
_Link = tuple["_Link | None", str | int]

# Per body. The largest batch has a tenth of it, and more would delay other requests.
VALUES_MAX = 20_000
DIGITS_MAX = 18

# Query parameters that may have several lines.
_LINES_IN_QUERIES = frozenset({"note"})


def complaint(text: str, *, lines: bool = False) -> str | None:
    """The error of a text, or None."""
    found = first_unprintable(text, lines=lines)
    if found is None:
        return None
    return f"character {found + 1} is {name_of(text[found])}, which is unprintable; leave it out"


def unprintable_in(
    value: object, lines_of: frozenset[str] = frozenset()
) -> Iterator[tuple[Place, str]]:
    """Each refused text of a decoded JSON value: its place and the reason.

    ``lines_of`` are the keys of the outermost object whose texts may have several lines. Keys of
    objects are texts too. No recursion, as the value may be arbitrarily deep; for the same reason a
    place is written out only for an error.
    """
    waiting: list[tuple[_Link | None, bool, object]] = [(None, False, value)]
    count = 1
    while waiting:
        link, lines, part = waiting.pop()
        if isinstance(part, str):
            wrong = complaint(part, lines=lines)
            if wrong is not None:
                yield _place_of(link), wrong
            continue
        if isinstance(part, Mapping):
            yield from _keys(link, part)
        inner = _inner(part)
        count += len(inner)
        if count > VALUES_MAX:
            yield (), f"it has more than {VALUES_MAX} values: send fewer at once"
            return
        waiting += (
            ((link, step), lines or (link is None and step in lines_of), entry)
            for step, entry in inner
        )


def _keys(link: _Link | None, part: Mapping[Any, Any]) -> Iterator[tuple[Place, str]]:
    for key in part:
        wrong = complaint(key) if isinstance(key, str) else None
        if wrong is not None:
            yield _place_of((link, printable(key))), f"this name: {wrong}"


def _inner(part: object) -> list[tuple[str | int, object]]:
    if isinstance(part, Mapping):
        return list(part.items())
    if isinstance(part, list | tuple):
        return list(enumerate(part[: VALUES_MAX + 1]))
    return []


def _place_of(link: _Link | None) -> Place:
    steps = []
    while link is not None:
        link, step = link
        steps.append(step)
    return tuple(reversed(steps))


def number_in(text: str | None) -> int | None:
    """The number in a header; None if it is not one, or too large for us."""
    is_number = text is not None and text.isascii() and text.isdecimal()
    return int(text) if text is not None and is_number and len(text) <= DIGITS_MAX else None


def refused_in(scope: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first place outside of the body with such a text, and its error."""
    wrong = complaint(scope["path"])
    if wrong is not None:
        return "path", wrong
    query = scope["query_string"].decode("latin-1")
    for name, value in parse_qsl(query, keep_blank_values=True):
        wrong = complaint(name) or complaint(value, lines=name in _LINES_IN_QUERIES)
        if wrong is not None:
            return printable(name), wrong
    for name, value in scope["headers"]:
        # Non-ASCII bytes are opaque in headers, and no header of ours has any.
        wrong = complaint(value.decode("ascii", "replace"), lines=True)
        if wrong is not None or b"\n" in value:
            return name.decode("ascii", "replace"), wrong or "it has more than one line"
    return None


def cleaned(value: Any) -> Any:
    """An answer's text without unprintable characters; it may quote the request."""
    if isinstance(value, str):
        return printable(value, lines=True)
    if isinstance(value, Mapping):
        return {cleaned(key): cleaned(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(entry) for entry in value]
    return value
