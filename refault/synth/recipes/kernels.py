"""What a kernel does to its own translations: global flushes, and page-table isolation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from refault.synth.commands import Rows
from refault.synth.machine import VMALLOC_PAGES
from refault.synth.recipes.recipe import ROUNDS, SETUP, Recipe, World

MARKS: Final = {str(SETUP): "the first programs start", str(ROUNDS): "the rounds begin"}


def _global(world: World) -> Iterator[Rows]:
    """The kernel maps and unmaps its own pages, and flushes global translations by CR4.PGE."""
    script, dice = world.script, world.dice
    script.mark(SETUP)
    workers = [world.start(number, vcpu=world.vcpu()) for number in range(4)]
    script.mark(ROUNDS)
    yield world.rows()
    while True:
        worker, vcpu = dice.pick(workers), world.vcpu()
        pages = dice.pick((1, 2, 4, 16, 64))
        first = dice.below(VMALLOC_PAGES - pages)
        script.vmap(vcpu, worker, first, pages)
        for _ in range(dice.between(1, 4)):
            script.work(world.vcpu(), dice.pick(workers), 16)
        script.vunmap(vcpu, worker, first, pages, by_cr4=dice.chance(75))
        yield world.rows()


def _pti(world: World) -> Iterator[Rows]:
    """System calls, faults and switches, each with two loads of CR3."""
    script, dice = world.script, world.dice
    script.mark(SETUP)
    workers = [world.start(number, vcpu=world.vcpu()) for number in range(6)]
    script.mark(ROUNDS)
    yield world.rows()
    while True:
        worker, vcpu = dice.pick(workers), world.vcpu()
        for _ in range(dice.between(2, 8)):
            script.copy(vcpu, worker, world.layout.heap_page + dice.below(64), 1, writes=True)
            script.work(vcpu, worker, dice.between(8, 30))
        if dice.chance(20):
            child = world.fork(worker, vcpu=vcpu)
            script.work(vcpu, child, 30)
            if dice.chance(50):
                world.execute(child, dice.below(60), vcpu=vcpu)
                script.work(vcpu, child, 40)
            world.exit(child, vcpu=vcpu)
        yield world.rows()


GLOBAL: Final = Recipe(
    name="global",
    does="the kernel unmaps pages of its own and flushes global translations through CR4.PGE",
    rounds=_global,
    marks=MARKS,
)
PTI: Final = Recipe(
    name="pti",
    does="kernel page-table isolation: two roots a process, CR3 loaded on every entry and exit",
    rounds=_pti,
    marks=MARKS,
    pti=True,
)
