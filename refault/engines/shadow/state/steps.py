"""The bound on every loop, and the word that ends them all.

A ``for`` over a range, and a ``while`` over the levels of a table, the entries of a node or the
words of a bitmap, have their bound beside them. Every other loop follows lists, which are as
long as the guest likes, and end only if they are in order. Each of its turns takes a step here::

    while sp and goes_on(m, 1):

An operation has ``STEPS_PER_OPERATION`` steps and some for each page in use. Without any left,
and once another thread has set ``ABORTED``, every such loop ends at its next turn, so the operation
does, and ``BUG`` says which of the two it was.
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
