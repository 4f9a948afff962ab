"""The only place numba is configured: one decorator for every kernel.

A kernel is a plain Python function over flat ``int64`` arrays. Compiled, it runs
without reference counting, without the GIL and from an on-disk cache; with
``REFAULT_INTERPRETED=1`` in the environment the same source runs as Python, to be
debugged and compared with the compiled form.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba import types

from refault.replay.compile.bare import bare_words
from refault.replay.compile.bare import shared_word as _shared_word
from refault.replay.compile.cache import cache_folder
from refault.replay.compile.whole import DoorCompiler, KernelCompiler
from refault.replay.source import compiled_digest

_Kernel = TypeVar("_Kernel")
_Arrays = TypeVar("_Arrays")

INTERPRETED = os.environ.get("REFAULT_INTERPRETED", "") == "1"
BOUNDS_CHECKED = os.environ.get("REFAULT_BOUNDSCHECK", "") == "1"


@contextlib.contextmanager
def compiling_alone() -> Iterator[None]:
    """Let processes that start together compile once: the first does, the others wait and load.

    Once one has reached the end of the block, none waits any more. The lock is the operating
    system's and ends with its process. Without a writable cache each compiles for itself.
    """
    folder = _kernels_folder()
    whole = folder / "whole"
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if not whole.exists():
                lock = held.enter_context((folder / "lock").open("wb"))
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        with contextlib.suppress(OSError):
            whole.touch()


def _kernels_folder() -> Path:
    """The cache of this source.

    numba does not notice when a callee in another file changed, so the cache is keyed by the digest
    of everything kernels are compiled from.
    """
    kind = "checked" if BOUNDS_CHECKED else "kernels"
    return cache_folder() / f"{kind}-{compiled_digest()[:16]}"


def _configure() -> dict[str, Any]:
    """Point numba's cache at the folder of this source."""
    numba.config.CACHE_DIR = str(_kernels_folder())  # type: ignore[attr-defined]  # set at import
    return {
        "nogil": True,
        "error_model": "numpy",
        "boundscheck": BOUNDS_CHECKED,
        # Kernels allocate nothing. With the runtime on, numba counts references to
        # every array passed to a callee, which costs half the speed.
        "_nrt": BOUNDS_CHECKED,
    }


_OPTIONS: dict[str, Any] = {} if INTERPRETED else _configure()


def kernel(function: _Kernel) -> _Kernel:
    """Compile ``function`` when a door that calls it is compiled; Python itself cannot call it.

    Without wrappers for Python and a cache entry of its own, a kernel compiles in half the
    time.
    """
    if INTERPRETED:
        return function
    return _kernel(function)


def _kernel(function: _Kernel, **more: bool) -> _Kernel:
    options = {**_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, **more}
    dispatcher: Any = numba.njit(pipeline_class=KernelCompiler, **options)(function)
    resolve = dispatcher.get_call_template

    def resolve_widened(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return resolve(tuple(_widened(arg) for arg in args), kws)

    # numba would compile a kernel once for every constant it is called with.
    dispatcher.get_call_template = resolve_widened
    compiled: _Kernel = dispatcher
    return compiled


def inlined(function: _Kernel) -> _Kernel:
    """A kernel that LLVM copies into every caller: for what the hot loop does to each row.

    Not for bounds-checked kernels, which would only take longer to compile.
    """
    if INTERPRETED:
        return function
    return _kernel(function, forceinline=not BOUNDS_CHECKED)


def _widened(argument: Any) -> Any:
    """Every integer a kernel takes is an ``int64``: constants, flags, bytes of a column."""
    plain = types.unliteral(argument)  # type: ignore[no-untyped-call]
    return types.int64 if isinstance(plain, (types.Integer, types.Boolean)) else plain


def door(function: _Kernel) -> _Kernel:
    """Compile ``function``, with everything below it, on its first call from Python; cache it."""
    if INTERPRETED:
        return function
    options: dict[str, Any] = {**_OPTIONS, "no_cfunc_wrapper": True}
    compiled: _Kernel = numba.njit(cache=True, pipeline_class=DoorCompiler, **options)(function)
    return compiled


def native(words: Any) -> Any:
    """An array of words as kernels take it: a list where they are interpreted."""
    return words.tolist() if INTERPRETED else words.astype(np.int64, copy=False)


def _untouched(arrays: _Arrays) -> _Arrays:
    return arrays


def _plain_word(words: Any, place: int) -> Any:
    return words[place]


#: Reads a word of an array that another thread may write meanwhile.
shared_word: Any = _shared_word
#: A door's first step for each named tuple it is given: from arrays to bare words (bare.py).
bare: Any = bare_words

if INTERPRETED:
    bare, shared_word = _untouched, _plain_word
elif BOUNDS_CHECKED:
    bare, shared_word = kernel(_untouched), kernel(_plain_word)
