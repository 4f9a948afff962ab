"""What the methods of ``Catalogue`` and ``AsyncCatalogue`` ask, each request described once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refault.client import calls
from refault.client.catalogue_documents import GlossaryDocument

if TYPE_CHECKING:
    from refault.client.calls import Call


def get_glossary(*, q: str | None = None, group: str | None = None) -> Call[GlossaryDocument]:
    """What every counter, verdict, check and term means, or those in which ``q`` stands."""
    query = {"q": q, "group": group}
    return calls.ask("GET", ("glossary",), query=query, shape=GlossaryDocument)
