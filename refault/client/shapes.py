"""Whether a JSON document has the shape its ``TypedDict`` says: a service is trusted with no more.

A document of another shape (another program answers there, or a service too old or too new) is
refused where it comes in, with the place in it, so that nothing behind meets a missing key.
"""

from __future__ import annotations

import types
from functools import cache
from typing import (
    Any,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

_KINDS: dict[Any, Any] = {
    type(None): type(None),
    bool: bool,
    str: str,
    int: int,
    float: (int, float),
    list: list,
}
_NAMES: dict[Any, str] = {
    type(None): "null",
    bool: "true or false",
    str: "text",
    int: "a whole number",
    float: "a number",
    list: "a list",
}
_NUMBERS = frozenset({int, float})


def misfit(value: object, shape: Any, place: str = "") -> str | None:
    """The first place of a document that is not as its shape says, in words; None if all of it is.

    Keys the shape does not name are let pass: a service may add some.
    """
    if shape is Any:
        return None
    origin, arguments = get_origin(shape) or shape, get_args(shape)
    if origin in {Union, types.UnionType}:
        found = [misfit(value, choice, place) for choice in arguments]
        return None if None in found else found[0]
    # A truth value is a number to Python, and none to JSON.
    if not isinstance(value, _KINDS.get(origin, dict)) or (
        origin in _NUMBERS and isinstance(value, bool)
    ):
        return f"{place or '/'} is {_named(value)}, not {_NAMES.get(origin, 'an object')}"
    if is_typeddict(origin) and isinstance(value, dict):
        return _record_misfit(value, origin, arguments, place)
    inside: Any = ()
    if isinstance(value, list | dict):
        inside = enumerate(value) if isinstance(value, list) else value.items()
    return _first(((f"{place}/{key}", item) for key, item in inside), arguments)


def _first(items: Any, arguments: tuple[Any, ...]) -> str | None:
    """The first misfit of a list's or an object's items; their type is the last argument."""
    return next(filter(None, (misfit(item, arguments[-1], place) for place, item in items)), None)


def _record_misfit(
    value: dict[str, object], record: Any, arguments: tuple[Any, ...], place: str
) -> str | None:
    for name, (field, is_required) in _fields(record, arguments).items():
        if name in value:
            found = misfit(value[name], field, f"{place}/{name}")
            if found:
                return found
        elif is_required:
            return f"{place}/{name} is missing"
    return None


@cache
def _fields(record: Any, arguments: tuple[Any, ...]) -> dict[str, tuple[Any, bool]]:
    """Each key of a ``TypedDict`` with its type, and whether it must be there."""
    given = dict(zip(getattr(record, "__parameters__", ()), arguments, strict=True))
    fields = {}
    for name, hint in get_type_hints(record, include_extras=True).items():
        is_required = record.__total__ and get_origin(hint) is not NotRequired
        field = get_args(hint)[0] if get_origin(hint) is NotRequired else hint
        (variable,) = getattr(field, "__parameters__", ()) or (None,)
        if isinstance(field, TypeVar):
            field = given[field]
        elif variable is not None:
            field = field[given[variable]]
        fields[name] = (field, is_required)
    return fields


def _named(value: object) -> str:
    return next(
        (name for kind, name in _NAMES.items() if isinstance(value, _KINDS[kind])), "an object"
    )
