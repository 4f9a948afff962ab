"""The forms in which the report is written, by the name of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from refault.thread.data import to_dict
from refault.thread.markdown import to_markdown
from refault.thread.page import to_html
from refault.thread.sections import document
from refault.thread.text import to_text

if TYPE_CHECKING:
    from refault.thread.review import Review


def _json(review: Review) -> str:
    return json.dumps(to_dict(review), indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Review], str]] = {
    "text": lambda review: to_text(document(review)),
    "md": lambda review: to_markdown(document(review)),
    "json": _json,
    "html": lambda review: to_html(document(review)),
}
