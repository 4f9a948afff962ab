"""Kernels become machine code once, with their door."""

import numba
import numpy as np
import pytest
from numba.core.codegen import JITCodeLibrary

from refault.replay.compile import jit


@jit.kernel
def lowest(words, place):
    return words[place] * 3


@jit.kernel
def middle(words, place):
    return lowest(words, place) + lowest(words, place + 1)


@pytest.fixture
def finalized(monkeypatch, tmp_path):
    """The libraries that were optimized and translated, by the name of their function.

    With a cache of its own, which has none of them yet.
    """
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    names = []
    finalize = JITCodeLibrary.finalize

    def noted(self):
        names.append(self.name)
        finalize(self)

    monkeypatch.setattr(JITCodeLibrary, "finalize", noted)
    return names


def test_two_doors_share_a_kernel_and_only_doors_become_machine_code(finalized):
    @jit.door
    def first(words):
        return middle(words, 0) + lowest(words, 2)

    @jit.door
    def second(words):
        return middle(words, 1)

    words = np.array([1, 10, 100], np.int64)
    assert (first(words), second(words)) == (333, 330)
    if not jit.INTERPRETED:
        named = [name.rpartition(".")[2] for name in finalized]
        assert [name for name in named if name in ("first", "second")] == ["first", "second"]
        assert not {"lowest", "middle"} & set(named)


def test_a_kernel_is_linked_after_everything_that_calls_it(monkeypatch, tmp_path):
    """Linked before, it is left out, and the door calls address 0."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    doors = []
    finalize = JITCodeLibrary.finalize

    def noted(self):
        doors.append(self)
        finalize(self)

    monkeypatch.setattr(JITCodeLibrary, "finalize", noted)

    @jit.door
    def inner(words):
        return middle(words, 0)

    @jit.door
    def outer(words):
        return lowest(words, 2) + inner(words) + middle(words, 1)

    assert outer(np.array([1, 10, 100], np.int64)) == 300 + 33 + 330
    for door in doors:
        linked = door._linking_libraries
        for place, library in enumerate(linked):
            below = getattr(library, "_linking_libraries", [])
            if type(library).__name__ == "_KernelLibrary":
                assert not set(below) & set(linked[:place])
