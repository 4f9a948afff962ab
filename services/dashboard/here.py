"""The address of the page being made, for the frame around every page to mark its place in."""

from contextvars import ContextVar

_PATH = ContextVar("_PATH", default="")


def enter(path: str) -> None:
    """From here on, this task makes the page of that path."""
    _PATH.set(path)


def is_under(place: str) -> bool:
    """Whether the page is that place, or one below it."""
    return _PATH.get() == place or _PATH.get().startswith(f"{place}/")
