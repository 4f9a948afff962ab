"""How much memory one replay may take, asked before any of it is allocated.

Arrays grow with what a trace makes the host hold, and a few KiB of events can make it hold any
amount. The full length of every array counts, touched or not, and the old one too while a longer
one replaces it: what a limit on the process would count.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from refault.errors import ReplayTooLarge

#: Called with a number of words and what they are for, before they are allocated.
Ask = Callable[[int, str], object]
WORD_BYTES = 8


def machine_bytes() -> int:
    """How much memory this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def unbounded(words: int, what: str) -> None:
    """No limit, for callers that set none."""


class Budget:
    """What the arrays of all variants of one replay may take together; None is unlimited."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._taken_bytes = 0
        # Hosts on several threads share it.
        self._lock = threading.Lock()

    def share(self) -> Share:
        """A share for one holder of arrays, which has nothing yet."""
        return Share(self)

    def move(self, change_bytes: int, what: str) -> None:
        """Take so many bytes more, or give some back.

        Raises:
            ReplayTooLarge: it would exceed the limit; nothing was taken.
        """
        with self._lock:
            taken_bytes = self._taken_bytes + change_bytes
            if change_bytes > 0 and self._limit_bytes and taken_bytes > self._limit_bytes:
                msg = (
                    f"the replay needs more than the {_mib(self._limit_bytes)} MiB of memory it "
                    f"may take: {what} would make it {_mib(taken_bytes)} MiB; replay a shorter "
                    "trace, or with a lower page limit"
                )
                raise ReplayTooLarge(msg)
            self._taken_bytes = taken_bytes


class Share:
    """What one holder has of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._taken_bytes = 0

    def ask(self, words: int, what: str) -> None:
        """Ask for ``words`` more before they are allocated; raises ReplayTooLarge."""
        self._move(words * WORD_BYTES, what)

    def settle(self, arrays: Sequence[Any]) -> None:
        """State that these are all the arrays it holds now."""
        held_bytes = sum(map(len, arrays)) * WORD_BYTES
        self._move(held_bytes - self._taken_bytes, "what it holds")

    def _move(self, change_bytes: int, what: str) -> None:
        self._budget.move(change_bytes, what)
        self._taken_bytes += change_bytes


def _mib(size_bytes: int) -> int:
    return -(-size_bytes >> 20)
