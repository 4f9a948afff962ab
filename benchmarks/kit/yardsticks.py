"""The programs in C that we measure ourselves against, built anew into a temporary folder."""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from refault.replay.operations import Operations

HERE = Path(__file__).parent
COUNTS = 6


@contextlib.contextmanager
def built(source: str) -> Iterator[ctypes.CDLL]:
    """A C file of this folder, compiled with ``gcc -O3``."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "yardstick.so"
        command = ["gcc", "-O3", "-shared", "-fPIC", "-o", str(library), str(HERE / source)]
        subprocess.run(command, check=True)
        yield ctypes.CDLL(str(library))


def tlb_loop(library: ctypes.CDLL, ops: Operations) -> list[int]:
    """Accesses, hits, misses, addresses other than witnessed, sum of addresses."""
    return _call(library.tlb_loop, ops.kind, ops.user, ops.a, ops.want)[:5]


def mmu_loop(library: ctypes.CDLL, ops: Operations) -> list[int]:
    """Accesses, hits, guest faults, not as witnessed, sum of addresses, shadow pages."""
    return _call(library.mmu_loop, ops.kind, ops.user, ops.cls, ops.a, ops.b, ops.want)


def _call(function: ctypes._CFuncPtr, *columns: np.ndarray) -> list[int]:
    counts = np.zeros(COUNTS, np.int64)
    function(
        ctypes.c_long(len(columns[0])),
        *(ctypes.c_void_p(column.ctypes.data) for column in (*columns, counts)),
    )
    return counts.tolist()
