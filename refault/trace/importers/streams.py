"""Address streams: what tools that follow one program record, before it becomes a trace.

Such a tool knows virtual addresses and nothing of page tables. Its importer only reads; the
synthetic guest (:mod:`refault.synth.streams`) then runs the addresses through tables of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from refault.errors import ImportFailed

READ: Final = 0
WRITE: Final = 1
FETCH: Final = 2
ORIGIN: Final = "addresses"
USER_END: Final = 1 << 47
#: What every address stream lacks.
LOSES: Final = (
    "real addresses, synthetic tables: tables, faults and switches are a synthetic guest's",
    "the kernel's own accesses and references outside user space are left out",
    "further accesses of a kind to a page until a flush, of which one program makes few",
)


class Aliases(NamedTuple):
    """Virtual pages whose physical page is known, each valid from reference ``at`` on."""

    at: NDArray[np.int64]
    process: NDArray[np.int64]
    page: NDArray[np.int64]
    physical: NDArray[np.int64]


class References(NamedTuple):
    """References in order, one array a column. ``thread`` and ``process`` are the tool's numbers.

    ``flags`` are READ, WRITE or FETCH; a fetch is one instruction. ``size`` is in bytes.
    """

    process: NDArray[np.int64]
    thread: NDArray[np.int64]
    address: NDArray[np.int64]
    flags: NDArray[np.uint8]
    size: NDArray[np.uint16]
    aliases: Aliases | None = None
    left_out: int = 0


class Stream(NamedTuple):
    """An opened address stream: facts for the header, what is lost, and the references."""

    facts: dict[str, str | int]
    loses: tuple[str, ...]
    references: Iterator[References]
    knows_frames: bool = False


#: Opens a file; is told how many of its bytes were read.
OpenStream = Callable[[Path, Callable[[int], None] | None], Stream]


def of_one_process(
    address: NDArray[np.int64], flags: NDArray[np.uint8], size: NDArray[np.uint16]
) -> References:
    """References of one program without thread numbers; those outside user space are left out."""
    inside = (address >= 0) & (address < USER_END)
    kept = int(np.count_nonzero(inside))
    left_out = len(address) - kept
    if left_out:
        address, flags, size = address[inside], flags[inside], size[inside]
    nobody = np.zeros(kept, np.int64)
    return References(nobody, nobody, address, flags, size, None, left_out)


def needs_a_guest(path: Path, target: Any, wanted: Any) -> NoReturn:
    """An address stream alone is no trace: :mod:`refault.synth.streams` converts it."""
    del target, wanted
    raise ImportFailed(f"{path}: an address stream becomes a trace by `refault import` only")
