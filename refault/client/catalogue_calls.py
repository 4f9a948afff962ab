"""What the methods of ``Catalogue`` and ``AsyncCatalogue`` ask, each request described once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refault.client import calls
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.client.calls import Call


def list_patches(
    *,
    q: str | None = None,
    author: str | None = None,
    base: str | None = None,
    form_of: str | None = None,
    merged: bool | None = None,
) -> Call[Page[PatchDocument]]:
    """The catalogue, or the patches for which every condition holds."""
    told = None if merged is None else str(merged).lower()
    query = {"q": q, "author": author, "base": base, "form_of": form_of, "merged": told}
    return calls.ask("GET", ("patches",), query=query, shape=Page[PatchDocument])


def get_patch(patch: str) -> Call[PatchDocument]:
    """One patch by id."""
    return calls.ask("GET", ("patches", patch), shape=PatchDocument)


def list_bases() -> Call[Page[BaseDocument]]:
    """Every base of the catalogue."""
    return calls.ask("GET", ("bases",), shape=Page[BaseDocument])


def create_patch_set(
    name: str, base: str, patches: Sequence[str], parameters: ParametersDocument | None = None
) -> Call[PatchSetDocument]:
    """A new patch set; the same content under the same name is the same patch set."""
    body = {"name": name, "base": base, "patches": list(patches), "parameters": parameters or {}}
    return calls.ask("POST", ("patch_sets",), body=body, shape=PatchSetDocument)


def list_patch_sets(
    *,
    q: str | None = None,
    patch: str | None = None,
    base: str | None = None,
    series: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[Page[PatchSetDocument]]:
    """One page of patch sets, newest first, or of those for which every condition holds."""
    query = {"q": q, "patch": patch, "base": base, "series": series}
    query |= {"limit": None if limit is None else str(limit), "cursor": cursor}
    return calls.ask("GET", ("patch_sets",), query=query, shape=Page[PatchSetDocument])


def get_patch_set(patch_set: str) -> Call[PatchSetDocument]:
    """One patch set by id."""
    return calls.ask("GET", ("patch_sets", patch_set), shape=PatchSetDocument)


def get_variant(text: str) -> Call[NotationDocument]:
    """The machine that one line such as ``p1+p2,tlb=1`` names."""
    return calls.ask("GET", ("variants",), query={"text": text}, shape=NotationDocument)


def list_batches_of(
    noun: str, name: str, *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[UseDocument]]:
    """One page of the batches with a column of ``patches``, ``patch_sets`` or ``variants``."""
    query = {"limit": limit, "cursor": cursor}
    return calls.ask("GET", (noun, name, "batches"), query=query, shape=Page[UseDocument])


def get_glossary(*, q: str | None = None, group: str | None = None) -> Call[GlossaryDocument]:
    """What every counter, verdict, check and term means, or those in which ``q`` stands."""
    query = {"q": q, "group": group}
    return calls.ask("GET", ("glossary",), query=query, shape=GlossaryDocument)
