"""Charts of a bundle: drawn by its service, and kept by a reader only if they are plain drawings.

What draws them is not at hand where a bundle is verified, so they are not drawn again: their
checksums are compared, and that nothing in them acts (scripts, links, what is fetched).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from refault.compare.chart import CELLS_MAX, cell_count
from refault.errors import BundleError

# As on a page: while cells are missing it would be drawn again for each.
_WAITING = frozenset({"queued", "running"})
_ELEMENTS = frozenset(
    {
        *("svg", "g", "path", "text", "tspan", "line", "rect", "circle", "defs", "clipPath"),
        "title",
    }
)
_ATTRIBUTE = r'[A-Za-z:-]{1,40}="[^"<]*"'
_PIECE = re.compile(rf"<([A-Za-z]{{1,20}})((?: {_ATTRIBUTE})*) ?/?>|</[A-Za-z]{{1,20}}>|[^<>]+")
_NAMES = re.compile(r'([A-Za-z:-]{1,40})="([^"<]*)"')
_ACTING = re.compile(r"on.*|.*href|src|style", re.IGNORECASE)
_FETCHING = re.compile(r"url\((?!#)|javascript:", re.IGNORECASE)


def is_charted(document: Mapping[str, Any]) -> bool:
    """Whether a comparison (as ``to_dict`` gives it) has a chart: something moved, and not much."""
    has_moved = any(not row["is_same"] for row in document["counters"])
    has_all = all(column["state"] not in _WAITING for column in document["columns"])
    return has_moved and has_all and cell_count(document) <= CELLS_MAX


def checked(svg: str, name: str) -> str:
    """A drawing that acts on nothing; raises BundleError naming what it may not have."""
    place = 0
    while place < len(svg):
        piece = _PIECE.match(svg, place)
        if piece is None:
            raise BundleError(f"{name}: not a plain drawing, at character {place}")
        if piece[1] is not None:
            if piece[1] not in _ELEMENTS:
                raise BundleError(f"{name}: a drawing has no element {piece[1]}")
            for attribute, value in _NAMES.findall(piece[2]):
                if _ACTING.fullmatch(attribute) or _FETCHING.search(value):
                    raise BundleError(f"{name}: a drawing may not have {attribute}")
        place = piece.end()
    return svg
