"""Every format that can be imported. To add one, write its module and add a line here.

An importer is one module: it recognises a file by its first bytes, converts it in bounded memory,
and names what the guest did that the trace does not show (``loses``). One whose format is a folder
of files recognises the folder too, and is given it as the path to convert.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from refault.errors import ImportFailed
from refault.trace.contents import TraceSummary
from refault.trace.hostlog import opening
from refault.trace.importers import (
    champsim,
    drmemtrace,
    hostevents,
    lackey,
    ptt,
    streams,
    vectors,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """The options of an import; None where not given."""

    name: str = ""
    ram_mib: int | None = None
    level: int = 19
    progress: Callable[[int], None] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Importer:
    """One foreign format. ``options`` are those that a file of it needs, as typed.

    ``origin`` is what the header of the trace says of it, and ``takes_folder`` whether a folder as
    a whole is of this format; None where the format is one file. An address stream has
    ``references`` in place of ``convert``: a synthetic guest makes the trace
    (:mod:`refault.synth.streams`, which this package does not know).
    """

    name: str
    title: str
    recognises: Callable[[bytes], bool]
    convert: Callable[[Path, Path | BinaryIO, Wanted], TraceSummary]
    loses: str
    options: str = ""
    origin: str = ""
    takes_folder: Callable[[Path], bool] | None = None
    references: streams.OpenStream | None = None

    def refuses(self, wanted: Wanted) -> str:
        """Why a file cannot be converted with these options, or an empty string."""
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
    return vectors.import_vector(
        path, target, name=wanted.name, level=wanted.level, progress=wanted.progress
    )


def _convert_log(path: Path, target: Path | BinaryIO, wanted: Wanted) -> TraceSummary:
    return hostevents.import_log(
        path,
        target,
        ram_mib=wanted.ram_mib,
        name=wanted.name,
        level=wanted.level,
        progress=wanted.progress,
    )


def _addresses(
    name: str,
    title: str,
    recognises: Callable[[bytes], bool],
    references: streams.OpenStream,
    takes_folder: Callable[[Path], bool] | None = None,
) -> Importer:
    """A stream of addresses, which becomes a trace by running in a synthetic guest."""
    return Importer(
        name=name,
        title=title,
        recognises=recognises,
        convert=streams.needs_a_guest,
        loses="; ".join(streams.LOSES),
        origin=streams.ORIGIN,
        takes_folder=takes_folder,
        references=references,
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
    recognises=vectors.recognises,
    convert=_convert_vector,
    loses="nothing",
)
HOST_LOG: Final = Importer(
    name="host-log",
    title="a host's log of KVM's tracepoints (trace.dat, perf script, or text)",
    recognises=opening.recognises,
    convert=_convert_log,
    loses=hostevents.LOSES,
    origin=hostevents.ORIGIN,
)
DRMEMTRACE: Final = _addresses(
    "drmemtrace",
    "a memory trace of DynamoRIO (drmemtrace)",
    drmemtrace.recognises,
    drmemtrace.open_trace,
    takes_folder=drmemtrace.is_folder_of,
)
LACKEY: Final = _addresses(
    "lackey", "a log of valgrind's lackey", lackey.recognises, lackey.open_log
)
CHAMPSIM: Final = _addresses(
    "champsim", "a trace of ChampSim", champsim.recognises, champsim.open_trace
)

#: In the order in which they are tried: what has no magic comes last.
IMPORTERS: Final = (PTT, VECTOR, HOST_LOG, DRMEMTRACE, LACKEY, CHAMPSIM)


def importer_of(first: bytes) -> Importer | None:
    """The importer of content with these first bytes."""
    return next((each for each in IMPORTERS if each.recognises(first)), None)


def folder_importer_of(path: Path) -> Importer | None:
    """The importer whose format is a folder such as this one."""
    return next((each for each in IMPORTERS if each.takes_folder and each.takes_folder(path)), None)
