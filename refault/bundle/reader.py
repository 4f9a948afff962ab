"""Reads a bundle that anybody may have made: names, counts and sizes are bounded first."""

from __future__ import annotations

import dataclasses
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, NoReturn, Self

from refault.audits import AuditReport
from refault.bundle import layout
from refault.bundle.fields import digest_of, fields_of, list_of, shown, text_of
from refault.bundle.head import Cell, Head, state_of
from refault.errors import BundleError, ResultError
from refault.results import RunResult

# The end of a zip without a comment: signature, disks, entries, bytes and offset of the directory.
_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CHUNK_BYTES = 1 << 20
_TRACES_MAX = layout.CELLS_MAX
_REMEDY = "get the bundle again from where it was made"
# Whatever zipfile says of what it cannot unpack; RuntimeError of what is encrypted.
_UNPACKING = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    RuntimeError,
)


class Bundle:
    """An open bundle. ``files`` are the names inside its ``folder``, in the zip's order.

    Opening looks at names and sizes; :meth:`read` and :meth:`chunks` check what they unpack.
    """

    def __init__(self, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> None:
        self._archive = archive
        self._entries = entries
        self.files = tuple(entries)
        first = next(iter(entries.values()))
        self.folder = first.filename.partition("/")[0]

    @classmethod
    def open(cls, stream: BinaryIO) -> Self:
        """The bundle in a seekable stream.

        Raises:
            BundleError: it is no zip, or not one that a bundle can be.
        """
        _check_end(stream)
        try:
            archive = zipfile.ZipFile(stream)
        except _UNPACKING as error:
            raise BundleError(f"not a zip file: {error}; {_REMEDY}") from error
        return cls(archive, _checked(archive.infolist()))

    def size_of(self, name: str) -> int:
        """The unpacked size of a file, as the zip has it."""
        return self._entries[name].file_size

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file, piece by piece; no more than the zip says it has.

        Raises:
            BundleError: there is none of that name, or it is damaged.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise BundleError(f"{name}: the bundle has no such file")
        left = entry.file_size
        try:
            with self._archive.open(entry) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    left -= len(chunk)
                    if left < 0:
                        raise BundleError(f"{name}: it unpacks to more than it says; {_REMEDY}")
                    yield chunk
        except _UNPACKING as error:
            raise BundleError(f"{name}: damaged: {error}; {_REMEDY}") from error
        if left:
            raise BundleError(f"{name}: damaged: {left} bytes are missing; {_REMEDY}")

    def read(self, name: str) -> bytes:
        """A whole file; BundleError as in :meth:`chunks`."""
        return b"".join(self.chunks(name))

    def sums(self) -> dict[str, str]:
        """The digest of each file by SHA256SUMS; BundleError naming the line that is wrong."""
        found: dict[str, str] = {}
        lines = self.read(layout.SUMS).decode(errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            digest, _, name = line.partition("  ")
            if not layout.DIGEST.fullmatch(digest) or not name or name in found:
                raise BundleError(
                    f"{layout.SUMS}: line {number}: expected a digest and a name; {_REMEDY}"
                )
            found[name] = digest
        return found

    def manifest(self) -> Manifest:
        """The manifest; BundleError naming the field that is wrong."""
        return Manifest(self)


class Entry(NamedTuple):
    """A trace of the manifest: its cells as they are, and its verdicts as told."""

    name: str
    digest: str
    cells: list[Any]
    verdicts: object
    limits: tuple[str, ...]


class Manifest:
    """What a bundle says of its batch and of each cell; results are read one by one."""

    def __init__(self, bundle: Bundle) -> None:
        body = _json(bundle, layout.MANIFEST)
        if not isinstance(body, dict) or body.get("format") != layout.FORMAT:
            raise BundleError(f"{layout.MANIFEST}: not of a bundle; choose one that refault made")
        version = body.get("version")
        if isinstance(version, bool) or version not in layout.VERSIONS:
            raise BundleError(
                f"{layout.MANIFEST}: this program reads bundles of versions 1 to {layout.VERSION}, "
                f"this one is of version {shown(version)}; upgrade refault to read a later one"
            )
        self._bundle = bundle
        with _of_member(layout.MANIFEST):
            self.made_by = text_of(body.get("made_by"), "made_by")
            self.head = Head.from_dict(body.get("batch"))
            self.verdict: object = body.get("verdict")
            self._traces = list_of(body.get("traces"), "traces")
            columns = len(self.head.columns)
            if len(self._traces) > _TRACES_MAX or len(self._traces) * columns > layout.CELLS_MAX:
                raise BundleError(f"traces: a bundle has at most {layout.CELLS_MAX:,} cells")
            if bundle.folder != layout.folder_of(self.head.code):
                raise BundleError(f"batch.code: not that of the folder {bundle.folder}")

    @property
    def digests(self) -> list[str]:
        """The digests of the traces, in order."""
        return [entry.digest for entry in self.traces()]

    def traces(self) -> Iterator[Entry]:
        """Each trace."""
        for number, entry in enumerate(self._traces, 1):
            place = f"traces[{number}]"
            with _of_member(layout.MANIFEST):
                if not isinstance(entry, dict):
                    raise BundleError(f"{place}: expected an object")
                cells = list_of(entry.get("cells"), f"{place}.cells")
                if len(cells) != len(self.head.columns):
                    raise BundleError(f"{place}: {len(cells)} cells of {len(self.head.columns)}")
                name = text_of(entry.get("name"), f"{place}.name")
                digest = digest_of(entry.get("digest"), f"{place}.digest")
                told = list_of(entry.get("limits") or [], f"{place}.limits")
                limits = tuple(text_of(each, f"{place}.limits") for each in told)
            yield Entry(name, digest, cells, entry.get("verdicts"), limits)

    def cells(self, trace: str, told: list[Any]) -> list[Cell]:
        """The cells of a trace with their results, each checked against its digest."""
        # Columns of one variant share a result.
        known: dict[str, RunResult] = {}
        return [
            self._cell(trace, column.variant_digest, each, known)
            for column, each in zip(self.head.columns, told, strict=True)
        ]

    def _cell(self, trace: str, variant: str, told: object, known: dict[str, RunResult]) -> Cell:
        with _of_member(layout.MANIFEST):
            plain, digest, audit_digest = _plain_cell(told)
        result = audit = None
        if digest is not None:
            if digest not in known:
                known[digest] = self._result(digest)
            result = known[digest]
            if (result.trace_digest, result.variant_digest) != (trace, variant):
                raise BundleError(
                    f"results/{digest[:12]}: it is of trace {result.trace_digest[:12]} under "
                    f"variant {result.variant_digest[:12]}, and stands in the cell of "
                    f"{trace[:12]} under {variant[:12]}"
                )
        if audit_digest is not None:
            audit = self._audit(audit_digest)
            if (audit.trace_digest, audit.variant_digest) != (trace, variant):
                raise BundleError(f"audits/{audit.digest[:12]}: it is of another cell")
        return dataclasses.replace(plain, result=result, audit=audit)

    def _result(self, digest: str) -> RunResult:
        name = f"{layout.RESULTS}{digest}.json"
        try:
            found = RunResult.from_dict(_json(self._bundle, name))
            own = found.digest
        except (ResultError, AttributeError, TypeError, ValueError, OverflowError) as error:
            raise BundleError(f"{name}: not a result: {error}; {_REMEDY}") from error
        if own != digest:
            raise BundleError(f"{name}: the result has the digest {own[:12]}, not its name's")
        return found

    def _audit(self, digest: str) -> AuditReport:
        name = f"{layout.AUDITS}{digest}.json"
        try:
            found = AuditReport.from_dict(_json(self._bundle, name))
            own = found.digest
        except (ResultError, AttributeError, TypeError, ValueError, OverflowError) as error:
            raise BundleError(f"{name}: not an audit: {error}; {_REMEDY}") from error
        if own != digest:
            raise BundleError(f"{name}: the audit has the digest {own[:12]}, not its name's")
        return found


def _json(bundle: Bundle, name: str) -> Any:
    try:
        return json.loads(bundle.read(name), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name}: not JSON: {error}; {_REMEDY}") from error


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


@contextmanager
def _of_member(name: str) -> Iterator[None]:
    """Names the file in which a field is wrong, and what to do."""
    try:
        yield
    except BundleError as error:
        raise BundleError(f"{name}: {error}; {_REMEDY}") from error


def _plain_cell(told: object) -> tuple[Cell, str | None, str | None]:
    """A cell of the manifest without its result and audit, and the digests of these."""
    fields = fields_of(told, Cell, "cell")
    error, alarm = (
        None if fields[name] is None else text_of(fields[name], f"cell.{name}", lines=True)
        for name in ("error", "alarm")
    )
    result, audit = (
        None if fields[name] is None else digest_of(fields[name], f"cell.{name}")
        for name in ("result", "audit")
    )
    return Cell(state_of(fields["state"]), error, alarm), result, audit


def _check_end(stream: BinaryIO) -> None:
    """Looks at the end of the file, before the list of its files is read into memory."""
    try:
        size_bytes = stream.seek(0, 2)
        stream.seek(max(0, size_bytes - _END.size))
        end = stream.read(_END.size)
    except OSError as error:
        raise BundleError(f"it cannot be read: {error}") from error
    if len(end) < _END.size or not end.startswith(_END_SIGNATURE):
        raise BundleError("not a bundle: it does not end as a zip file of ours does")
    _, _, _, _, count, directory_bytes, _, _ = _END.unpack(end)
    if count > layout.FILES_MAX or directory_bytes > layout.DIRECTORY_BYTES_MAX:
        raise BundleError(f"it has {count:,} files; a bundle has at most {layout.FILES_MAX:,}")


def _checked(entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    total_bytes = 0
    folders = set()
    for entry in entries:
        name = layout.NAME.fullmatch(entry.filename)
        shown = ascii(entry.filename)[:120]
        if name is None or name[1] in found:
            raise BundleError(f"{shown}: not the name of a file in a bundle, or there twice")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in {0, stat.S_IFREG} or entry.flag_bits & _ENCRYPTED:
            raise BundleError(f"{shown}: a link, a device or encrypted")
        if entry.compress_type not in _METHODS:
            raise BundleError(f"{shown}: packed by a method that no bundle uses")
        folders.add(entry.filename.partition("/")[0])
        if not name[1].startswith(layout.CAPTURES):
            total_bytes += entry.file_size
            if entry.file_size > layout.FILE_BYTES_MAX:
                raise BundleError(f"{shown}: {entry.file_size} bytes unpacked are too many")
        found[name[1]] = entry
    if total_bytes > layout.TOTAL_BYTES_MAX:
        raise BundleError(
            f"{total_bytes:,} bytes unpacked; a bundle has at most {layout.TOTAL_BYTES_MAX:,}"
        )
    if len(folders) != 1 or layout.SUMS not in found or layout.MANIFEST not in found:
        raise BundleError(f"not a bundle: no folder with {layout.MANIFEST} and {layout.SUMS}")
    return found
