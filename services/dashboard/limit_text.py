"""Limits of counters as people write them: ``1 %``, ``0.5 %``, or a count such as ``2000``."""

import re
from collections.abc import Mapping

from services.dashboard.formats import grouped

_SHARE = re.compile(r"([0-9]{1,5})(?:\.([0-9]))?\s*%")
_COUNT = re.compile(r"[0-9]{1,15}")


class LimitTextError(Exception):
    """The text is no limit."""


def limit_of(text: str) -> dict[str, int | None]:
    """The limit that a text says; raises LimitTextError."""
    plain = text.strip().replace(",", "")
    if share := _SHARE.fullmatch(plain):
        return {"permille": int(share[1]) * 10 + int(share[2] or 0)}
    if _COUNT.fullmatch(plain):
        return {"absolute": int(plain)}
    message = f"{text[:20]}: expected a share such as 1 % or 0.5 %, or a count such as 2000"
    raise LimitTextError(message)


def text_of(limit: Mapping[str, int | None] | None) -> str:
    """The limit as :func:`limit_of` reads it; empty for none."""
    if limit is None:
        return ""
    permille = limit["permille"]
    if permille is None:
        return grouped(limit["absolute"])
    whole, tenth = divmod(permille, 10)
    return f"{whole}.{tenth} %" if tenth else f"{whole} %"
