# Generated from refault/client/asynchronous/catalogue.py by `make client`: change it there.
"""The catalogue, patch sets of it, where they were run, and the words of results."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, TypeVar

from refault.client import calls, catalogue_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.client.catalogue_documents import (
        BaseDocument,
        GlossaryDocument,
        NotationDocument,
        PatchDocument,
        UseDocument,
    )
    from refault.client.documents import (
        Page,
        ParametersDocument,
        PatchSetDocument,
    )

AnswerT = TypeVar("AnswerT")


class Catalogue(abc.ABC):
    """Part of a client, which sends what is described here."""

    @abc.abstractmethod
    def _send(self, call: calls.Call[AnswerT]) -> AnswerT:
        """Ask the service, and read its answer."""

    def list_patches(
        self,
        *,
        q: str | None = None,
        author: str | None = None,
        base: str | None = None,
        form_of: str | None = None,
        merged: bool | None = None,
    ) -> Page[PatchDocument]:
        """The patch catalogue, or the patches for which every condition holds.

        ``q`` is part of any text, ``base`` one that the patch applies to, ``form_of`` a patch of
        which it is, or is another form.
        """
        return self._send(
            catalogue_calls.list_patches(
                q=q, author=author, base=base, form_of=form_of, merged=merged
            )
        )

    def get_patch(self, patch: str) -> PatchDocument:
        """One patch by id."""
        return self._send(catalogue_calls.get_patch(patch))

    def list_bases(self) -> Page[BaseDocument]:
        """Every base of the catalogue."""
        return self._send(catalogue_calls.list_bases())

    def create_patch_set(
        self,
        name: str,
        *,
        base: str,
        patches: Sequence[str],
        parameters: ParametersDocument | None = None,
    ) -> PatchSetDocument:
        """A patch set; the one that is there if its content is."""
        return self._send(catalogue_calls.create_patch_set(name, base, patches, parameters))

    def list_patch_sets(
        self,
        *,
        q: str | None = None,
        patch: str | None = None,
        base: str | None = None,
        series: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[PatchSetDocument]:
        """One page of patch sets, newest first, or of those for which every condition holds."""
        return self._send(
            catalogue_calls.list_patch_sets(
                q=q, patch=patch, base=base, series=series, limit=limit, cursor=cursor
            )
        )

    def get_patch_set(self, patch_set: str) -> PatchSetDocument:
        """One patch set by id."""
        return self._send(catalogue_calls.get_patch_set(patch_set))

    def list_batches_of_patch(
        self, patch: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[UseDocument]:
        """One page of the project's batches with a column that contains a patch."""
        call = catalogue_calls.list_batches_of("patches", patch, limit=limit, cursor=cursor)
        return self._send(call)

    def list_batches_of_patch_set(
        self, patch_set: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[UseDocument]:
        """One page of the batches with a column of a patch set, or of a prefix of it."""
        call = catalogue_calls.list_batches_of("patch_sets", patch_set, limit=limit, cursor=cursor)
        return self._send(call)

    def get_variant(self, text: str) -> NotationDocument:
        """The machine that one line such as ``p1+p2,tlb=1`` names, stored or not."""
        return self._send(catalogue_calls.get_variant(text))

    def list_batches_of_variant(
        self, variant: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[UseDocument]:
        """One page of the batches with a column of the machine of that digest."""
        call = catalogue_calls.list_batches_of("variants", variant, limit=limit, cursor=cursor)
        return self._send(call)

    def get_glossary(self, *, q: str | None = None, group: str | None = None) -> GlossaryDocument:
        """What every counter, verdict, check and term means, or those in which ``q`` stands."""
        return self._send(catalogue_calls.get_glossary(q=q, group=group))

    def get_openapi(self) -> dict[str, Any]:
        """The OpenAPI document of the service."""
        return self._send(calls.ask("GET", ("openapi.json",)))
