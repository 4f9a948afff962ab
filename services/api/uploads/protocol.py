"""The headers of tus 1.0 (https://tus.io/protocols/resumable-upload): read, checked, written."""

import base64
import binascii
import dataclasses
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from email.utils import format_datetime
from typing import Any, Final

from db.models import Upload
from db.models.uploads import TREE
from services.api.refusals import ChecksumMismatch, ProtocolMismatch, UploadHeaderInvalid
from services.api.texts import number_in
from services.api.traces.announcement import Wishes, as_wishes

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,checksum,expiration,termination"
PART_TYPE: Final = "application/offset+octet-stream"
# Headers of every answer of an upload's address.
SPOKEN: Final[Mapping[str, str]] = {"tus-resumable": VERSION, "tus-version": VERSION}

_ALGORITHMS: Final[Mapping[str, Callable[[], Any]]] = {
    # The protocol demands sha1; it is good enough against damage in transit.
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
}
CHECKSUM_ALGORITHMS: Final = ",".join(_ALGORITHMS)
_METADATA_MAX: Final = 16 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_version(header: str | None) -> None:
    """Refuses other versions of the protocol."""
    if header != VERSION:
        raise ProtocolMismatch(
            f"this service speaks Tus-Resumable {VERSION}, the request says {header or 'nothing'}"
        )


def number(name: str, header: str | None) -> int:
    """A required header with a number of bytes."""
    found = number_in(header)
    if found is None:
        raise UploadHeaderInvalid(f"{name}: expected a number of bytes, got {header!r:.100}")
    return found


@dataclasses.dataclass
class Checksum:
    """The announced checksum of a part."""

    algorithm: str
    expected: bytes

    @classmethod
    def read(cls, header: str | None) -> "Checksum | None":
        """The ``Upload-Checksum`` of a part, if it has one."""
        if header is None:
            return None
        algorithm, _, encoded = header.strip().partition(" ")
        if algorithm not in _ALGORITHMS:
            raise UploadHeaderInvalid(
                f"Upload-Checksum: {algorithm!r} is none of {CHECKSUM_ALGORITHMS}"
            )
        return cls(algorithm, _decoded("Upload-Checksum", encoded))

    def begin(self) -> Any:
        """An empty sum; ``update`` it with the part."""
        return _ALGORITHMS[self.algorithm]()

    def check(self, summed: Any) -> None:
        """Raises ChecksumMismatch if the checksums differ."""
        if not hmac.compare_digest(summed.digest(), self.expected):
            raise ChecksumMismatch(
                f"the part came with {self.algorithm} {summed.hexdigest()}, "
                f"Upload-Checksum says {self.expected.hex()}; it was dropped"
            )


@dataclasses.dataclass(frozen=True)
class Announced:
    """What ``Upload-Metadata`` says of a file: wishes for the trace, or that it is a tree."""

    wishes: Wishes
    digest: str | None
    is_tree: bool = False


def read_metadata(header: str | None) -> Announced:
    """Name, tags and note for the trace, and the announced sha256 of the file.

    ``name`` (or ``filename``), ``tags`` separated by spaces, ``note``, ``sha256`` and ``content``
    are ours; other keys are ignored.
    """
    values: dict[str, str] = {}
    if header and not header.isascii():
        raise UploadHeaderInvalid("Upload-Metadata: keys are ASCII, values base64")
    if header and len(header) > _METADATA_MAX:
        raise UploadHeaderInvalid(f"Upload-Metadata has more than {_METADATA_MAX} characters")
    for pair in filter(None, (part.strip() for part in (header or "").split(","))):
        key, _, encoded = pair.partition(" ")
        try:
            values[key] = _decoded("Upload-Metadata", encoded).decode()
        except UnicodeDecodeError as error:
            raise UploadHeaderInvalid(f"Upload-Metadata: {key} is not UTF-8") from error
    digest = values.get("sha256")
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise UploadHeaderInvalid("Upload-Metadata: sha256 must be 64 lower-case hex digits")
    wishes = as_wishes(
        name=values.get("name") or values.get("filename"),
        tags=values.get("tags", "").split(),
        note=values.get("note", ""),
    )
    return Announced(wishes, digest, is_tree=values.get("content") == TREE)


def described(row: Upload) -> dict[str, str]:
    """The headers of an answer about an upload."""
    headers = {
        "upload-offset": str(row.offset_bytes),
        "upload-length": str(row.size_bytes),
        "upload-expires": format_datetime(row.expires_at, usegmt=True),
        "cache-control": "no-store",
    }
    if row.metadata_header:
        headers["upload-metadata"] = row.metadata_header
    if row.trace_id is not None:
        headers["refault-trace"] = str(row.trace_id)
    if row.tree is not None:
        headers["refault-tree"] = row.tree
    return headers


def _decoded(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UploadHeaderInvalid(f"{name}: {text[:100]!r} is not base64") from error
