"""The bound on every loop, and the word that ends all of them.

A ``for`` over a range, and a ``while`` over the levels of a table, the entries of a node or the
words of a bitmap, are bounded by themselves. Every other loop follows lists, which the guest can
make long, and which end only if they are intact. Each iteration takes a step here::

    while sp and goes_on(m, 1):

An operation has ``STEPS_PER_OPERATION`` steps and some for each page in use. When none is left,
or another thread has set ``ABORTED``, every such loop ends at its next iteration and so does the
operation; ``BUG`` says which of the two it was.
"""

from __future__ import annotations

from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay.compile.jit import inlined, kernel, shared_word


@inlined
def begin_steps(m: Machine) -> None:
    """An operation begins."""
    vm = m.vm
    vm[words.STEPS_LEFT] = words.STEPS_PER_OPERATION + words.STEPS_PER_PAGE * vm[words.ACTIVE]


@inlined
def goes_on(m: Machine, steps: int) -> bool:
    """Take some steps; False if the loop must end."""
    vm = m.vm
    left = vm[words.STEPS_LEFT] - steps
    vm[words.STEPS_LEFT] = left
    if left >= 0 and not shared_word(vm, words.ABORTED):
        return True
    break_off(m)
    return False


@kernel
def break_off(m: Machine) -> None:
    """Say why the operation ends here; an earlier reason stands."""
    vm = m.vm
    if shared_word(vm, words.ABORTED):
        vm[words.BUG] = words.BUG_ABORTED
    elif not vm[words.BUG]:
        vm[words.BUG] = words.BUG_ENDLESS_LOOP
