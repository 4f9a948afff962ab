"""Flat arrays of words: numpy's where kernels are compiled, lists where they are interpreted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refault.replay.compile.jit import INTERPRETED

if TYPE_CHECKING:
    from refault.replay.budget import Ask


def zeros(count: int, *, interpreted: bool = INTERPRETED) -> Any:
    """``count`` words of 0."""
    return [0] * count if interpreted else np.zeros(count, np.int64)


def longer(words: Any, count: int, ask: Ask, what: str) -> Any:
    """The same words, followed by zeros up to ``count``; ``ask`` is called before."""
    ask(count, what)
    if isinstance(words, list):
        return words + [0] * (count - len(words))
    grown = np.zeros(count, np.int64)
    grown[: len(words)] = words
    return grown
