# Generated from refault/client/asynchronous/catalogue.py by `make client`: change it there.
"""The catalogue and its words, beyond one patch."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, TypeVar

from refault.client import calls, catalogue_calls

if TYPE_CHECKING:
    from refault.client.catalogue_documents import GlossaryDocument

AnswerT = TypeVar("AnswerT")


class Catalogue(abc.ABC):
    """Part of a client, which sends what is described here."""

    @abc.abstractmethod
    def _send(self, call: calls.Call[AnswerT]) -> AnswerT:
        """Ask the service, and read its answer."""

    def get_glossary(self, *, q: str | None = None, group: str | None = None) -> GlossaryDocument:
        """What every counter, verdict, check and term means, or those in which ``q`` stands."""
        return self._send(catalogue_calls.get_glossary(q=q, group=group))

    def get_openapi(self) -> dict[str, Any]:
        """The OpenAPI document of the service."""
        return self._send(calls.ask("GET", ("openapi.json",)))
