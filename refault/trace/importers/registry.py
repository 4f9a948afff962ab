"""Every format that becomes a trace. To add one, write its module and add a line here.

An importer is one module: it recognises a file by its first bytes, converts it in bounded memory,
and says what the trace cannot tell that the guest did (``loses``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from refault.errors import ImportFailed
from refault.trace.importers import golden, ptt
from refault.trace.model import TraceSummary


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What whoever imports a file says besides; None where it was not said."""

    name: str = ""
    ram_mib: int | None = None
    level: int = 19
    progress: Callable[[int], None] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Importer:
    """One foreign format. ``options`` are those a file of it cannot do without, as typed."""

    name: str
    title: str
    recognises: Callable[[bytes], bool]
    convert: Callable[[Path, Path | BinaryIO, Wanted], TraceSummary]
    loses: str
    options: str = ""

    def refuses(self, wanted: Wanted) -> str:
        """What else must be said before a file can be converted, or nothing."""
        if self.options and wanted.ram_mib is None:
            return f"{self.title} does not say how much memory the guest has; add --ram-mib"
        return ""


def _convert_ptt(path: Path, target: Path | BinaryIO, wanted: Wanted) -> TraceSummary:
    if wanted.ram_mib is None:
        raise ImportFailed(f"{path}: {PTT.refuses(wanted)}")
    return ptt.import_ptt(
        path,
        target,
        ram_mib=wanted.ram_mib,
        name=wanted.name,
        level=wanted.level,
        progress=wanted.progress,
    )


def _convert_vector(path: Path, target: Path | BinaryIO, wanted: Wanted) -> TraceSummary:
    return golden.import_golden(
        path, target, name=wanted.name, level=wanted.level, progress=wanted.progress
    )


PTT: Final = Importer(
    name="ptt",
    title="a ptt capture",
    recognises=ptt.recognises,
    convert=_convert_ptt,
    loses=ptt.LOSES,
    options="--ram-mib MIB",
)
VECTOR: Final = Importer(
    name="vector",
    title="an operation vector",
    recognises=golden.recognises,
    convert=_convert_vector,
    loses="nothing",
)

#: In the order in which a file is held against them.
IMPORTERS: Final = (PTT, VECTOR)


def importer_of(first: bytes) -> Importer | None:
    """The importer of a content that begins so."""
    return next((each for each in IMPORTERS if each.recognises(first)), None)
