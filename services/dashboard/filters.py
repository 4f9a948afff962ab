"""The choices of a list: what is in its address, and what the form above it offers.

All of them are in the address, so that a view of a list is a link.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams


@dataclasses.dataclass(frozen=True)
class Choice:
    """A field of the form whose values are counted by the API.

    ``titled`` gives the words of a value.
    """

    name: str
    label: str
    titled: Callable[[str], str] = str


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What of a list is wanted: what its address says, as far as the list knows it."""

    path: str
    text: str
    chosen: Mapping[str, str]
    sort: str
    cursor: str | None

    def to_query(self) -> dict[str, str]:
        """As the API takes it, without the cursor."""
        told = {"q": self.text, **self.chosen, "sort": self.sort}
        return {name: value for name, value in told.items() if value}

    def address(self, path: str | None = None, **more: str) -> str:
        """The address of the same choices, here or elsewhere."""
        query = urlencode(self.to_query() | more)
        return f"{path or self.path}{'?' if query else ''}{query}"

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return not (self.text or self.chosen)


def wanted_of(query: QueryParams, path: str, choices: Sequence[Choice]) -> Wanted:
    """What the address of a list says."""
    chosen = {each.name: query[each.name] for each in choices if query.get(each.name)}
    return Wanted(
        path, query.get("q", ""), chosen, query.get("sort", ""), query.get("after") or None
    )


def form_of(
    wanted: Wanted,
    choices: Sequence[Choice],
    facets: Mapping[str, Any],
    sorts: Mapping[str, str],
) -> dict[str, Any]:
    """The form above a list: a field of text, a menu for each choice, and one to sort by."""
    menus = [_menu(each, wanted.chosen.get(each.name, ""), facets[each.name]) for each in choices]
    return {
        "path": wanted.path,
        "text": wanted.text,
        # A menu with one value that is not chosen would choose nothing.
        "menus": [menu for menu in menus if menu["chosen"] or len(menu["values"]) > 1],
        "sorts": [
            {"value": value, "title": title, "is_chosen": value == wanted.sort}
            for value, title in sorts.items()
        ],
        "is_everything": wanted.is_everything,
    }


def _menu(choice: Choice, chosen: str, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = [(facet["value"], facet["count"]) for facet in found]
    if chosen and chosen not in {value for value, _ in values}:
        values.append((chosen, 0))
    return {
        "name": choice.name,
        "label": choice.label,
        "chosen": chosen,
        "values": [
            {
                "value": value,
                "title": choice.titled(value),
                "count": count,
                "is_chosen": value == chosen,
            }
            for value, count in values
        ],
    }
