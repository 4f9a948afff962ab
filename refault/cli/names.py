"""Resolves what a user typed for a trace, a patch set or a column."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from refault.cli.files import no_file, required
from refault.errors import NotATrace, NotFound, Refused
from refault.trace import SUFFIX
from refault.trace.importers.recognition import Kind

if TYPE_CHECKING:
    from refault.client import (
        BatchDocument,
        Client,
        Page,
        PatchSetDocument,
        TraceDocument,
    )
    from refault.client.documents import ColumnDocument

ItemT = TypeVar("ItemT")

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{8,64}")
PAGE_SIZE = 200


def is_id(word: str) -> bool:
    """Whether the word has the form of an id of the service."""
    return _ID.fullmatch(word) is not None


def all_of(list_page: Callable[..., Page[ItemT]], *, limit: int | None = None) -> Iterator[ItemT]:
    """Every item of a list, page by page; at most ``limit``."""
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
        page = list_page(limit=size, cursor=cursor)
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return
        left = None if left is None else left - len(page["items"])


def trace(client: Client, word: str) -> TraceDocument:
    """The trace of an id, a digest or its beginning, a name, or a file on this machine.

    ``NotFound`` with what to do: push a file, or choose between traces of one name.
    """
    path = Path(word)
    if path.suffix == SUFFIX or os.sep in word:
        required(path, Kind.TRACE)
        return _of_file(client, path)
    no_file(word)
    if is_id(word) or _DIGEST.fullmatch(word):
        try:
            return client.get_trace(word)
        except Refused as error:
            if error.status != 404:  # noqa: PLR2004
                raise
    found = [item for item in all_of(client.list_traces) if item["name"] == word]
    return _only(found, f"trace {word!r}", lambda item: item["digest"][:12], "refault traces list")


def _of_file(client: Client, path: Path) -> TraceDocument:
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise NotATrace(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return client.get_trace(digest)
    except Refused as error:
        if error.status != 404:  # noqa: PLR2004
            raise
        raise NotFound(f"{path} is not on the service yet; run: refault push {path}") from None


def patch_set(client: Client, word: str) -> PatchSetDocument:
    """The patch set of an id or a name."""
    if is_id(word):
        return client.get_patch_set(word)
    found = [item for item in all_of(client.list_patch_sets) if item["name"] == word]
    return _only(found, f"patch set {word!r}", lambda item: item["id"], "--patches makes one")


def column(batch: BatchDocument, word: str) -> ColumnDocument:
    """The column of a batch with that label, or of that number counted from 1."""
    columns = batch["columns"]
    for found in columns:
        if found["label"] == word:
            return found
    # No longer number is one of a column; Python itself refuses to read one of 5,000 digits.
    number = int(word) if re.fullmatch("[0-9]{1,9}", word) else 0
    if 1 <= number <= len(columns):
        return columns[number - 1]
    labels = ", ".join(found["label"] for found in columns)
    raise NotFound(f"batch {batch['code']} has no column {word!r}; it has {labels}")


def _only(found: list[ItemT], what: str, name_of: Callable[[ItemT], str], remedy: str) -> ItemT:
    if not found:
        raise NotFound(f"no {what}: {remedy}")
    if len(found) > 1:
        listed = ", ".join(name_of(item) for item in found)
        raise NotFound(f"{len(found)} matches for {what}; name one by its id: {listed}")
    return found[0]
