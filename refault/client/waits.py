"""Where the two clients differ by more than ``await``: sleeping, and calls that block.

In the generated client these names lose their ``async_`` (``tools/client.py``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")
ArgumentsT = TypeVarTuple("ArgumentsT")


def sleep(seconds: float) -> None:
    """Block the thread."""
    time.sleep(seconds)


async def async_sleep(seconds: float) -> None:
    """Wait without blocking the event loop."""
    await anyio.sleep(seconds)


def blocking(function: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT) -> ResultT:
    """The result of a function that blocks, such as one that reads a file."""
    return function(*arguments)


async def async_blocking(
    function: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT
) -> ResultT:
    """As :func:`blocking`, in a thread, so that the event loop does not block."""
    return await anyio.to_thread.run_sync(function, *arguments)
