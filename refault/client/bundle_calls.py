"""What the methods of ``Bundles`` and ``AsyncBundles`` ask, each request described once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from refault.client import answers, calls

if TYPE_CHECKING:
    from refault.client.calls import Call
    from refault.client.documents import Page

BundleForm = Literal["txt", "md", "csv"]


def get_bundle(batch: str, *, base: int | None = None, trace: str | None = None) -> Call[str]:
    """The comparison of a batch as a bundle; its bytes are streamed."""
    told = {"base": base, "trace": trace}
    query = {name: value for name, value in told.items() if value is not None}
    path = calls.ask("GET", ("comparisons", f"{batch}.zip")).path
    return calls.Call("GET", path, answers.text, query=query)


def import_bundle(data: bytes) -> Call[dict[str, Any]]:
    """A bundle of another service, checked and kept."""
    call: Call[dict[str, Any]] = calls.ask("POST", ("bundles",), content=data)
    return dataclasses.replace(call, headers={"content-type": "application/zip"})


def list_bundles(
    *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[dict[str, Any]]]:
    """One page of imported bundles, newest first."""
    return calls.ask("GET", ("bundles",), query={"limit": limit, "cursor": cursor})


def get_imported(bundle: str, *, trace: int | None = None) -> Call[dict[str, Any]]:
    """An imported bundle with its comparison; with ``trace``, counted from 1, only of that one."""
    return calls.ask("GET", ("bundles", bundle), query={"trace": trace})


def imported_text(bundle: str, form: BundleForm = "txt") -> Call[str]:
    """The comparison of an imported bundle in one of its forms."""
    path = calls.ask("GET", ("bundles", bundle, "comparison")).path
    return calls.Call("GET", path, answers.text, query={"format": form})


def delete_bundle(bundle: str) -> Call[None]:
    """Delete an imported bundle."""
    return calls.done("DELETE", ("bundles", bundle))
