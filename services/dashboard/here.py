"""The address of the page being made: to mark its place in the frame, and to lead to its data."""

from contextvars import ContextVar
from urllib.parse import parse_qsl, urlencode

_PATH = ContextVar("_PATH", default="")
_QUERY = ContextVar("_QUERY", default="")
# Where a page of a list begins: its data are of the whole list.
_PLACES = frozenset({"after", "cursor"})


def enter(path: str, query: str = "") -> None:
    """From here on, this task makes the page of that path and query."""
    _PATH.set(path)
    _QUERY.set(query)


def as_form(form: str) -> str:
    """The address of the data of this page in one form: with its query, from the first row."""
    told = [(name, text) for name, text in parse_qsl(_QUERY.get()) if name not in _PLACES]
    return f"{_PATH.get().rstrip('/')}.{form}{'?' if told else ''}{urlencode(told)}"


def is_under(place: str) -> bool:
    """Whether the page is that place, or one below it."""
    return _PATH.get() == place or _PATH.get().startswith(f"{place}/")
