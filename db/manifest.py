"""The manifest of a backup, with a sha256 of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from refault.errors import RefaultError

FORMAT = 1
MANIFEST = "manifest.json"


class BackupError(RefaultError):
    """A backup cannot be made, read or restored; the message names the part and the remedy."""


@dataclasses.dataclass(frozen=True)
class TableEntry:
    """One table of a backup; ``sha256`` covers its COPY text before compression."""

    name: str
    columns: list[str]
    row_count: int
    sha256: str
    # The next value of its identity column, by column.
    identities: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of a backup."""

    revision: str
    created_at: str
    archive_sha256: str
    tables: list[TableEntry]
    blobs: dict[str, int]
    format: int = FORMAT

    def to_text(self) -> str:
        """JSON, sealed."""
        body = dataclasses.asdict(self)
        return json.dumps({**body, "sha256": _seal(body)}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a backup; :class:`BackupError` names what is wrong with it."""
        path = folder / MANIFEST
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            seal = body.pop("sha256")
        except FileNotFoundError:
            raise BackupError(
                f"{folder} is not a backup, or an unfinished one: no {MANIFEST}"
            ) from None
        except (ValueError, KeyError, AttributeError):
            raise BackupError(f"{path} is damaged: it is not valid JSON") from None
        if seal != _seal(body):
            raise BackupError(f"{path} is damaged: its sha256 does not match")
        if body["format"] != FORMAT:
            raise BackupError(f"{path} has format {body['format']}: this release reads {FORMAT}")
        tables = [TableEntry(**entry) for entry in body.pop("tables")]
        return cls(tables=tables, **body)


def _seal(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """sha256 of a file, in bounded memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
