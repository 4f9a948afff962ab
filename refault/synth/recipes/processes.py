"""Processes that come and go: fork storms, exec, and many that share the kernel's tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from refault.synth.commands import READ, WRITE, Rows
from refault.synth.recipes.recipe import ROUNDS, SETUP, WHOLE, Recipe, World

MARKS: Final = {str(SETUP): "the first programs start", str(ROUNDS): "the rounds begin"}
CHILDREN: Final = 8


def _fork(world: World) -> Iterator[Rows]:
    """A parent with a filled heap forks children; each writes some pages, some run a program."""
    script, dice = world.script, world.dice
    script.mark(SETUP)
    parent = world.start(1)
    world.fill(parent, 192)
    script.mark(ROUNDS)
    yield world.rows()
    while True:
        children = [world.fork(parent) for _ in range(CHILDREN)]
        for child in children:
            world.fill(child, dice.between(4, 48), offset=dice.below(128))
            script.work(0, child, 60)
            if dice.chance(25):
                world.execute(child, dice.below(40))
                script.work(0, child, 80)
            if dice.chance(50):
                script.work(0, parent, 20, within=192)
        for child in children:
            world.exit(child)
        world.fill(parent, 64, offset=dice.below(128))
        yield world.rows()


def _exec(world: World) -> Iterator[Rows]:
    """A shell forks; the child runs another program each time, works and ends."""
    script, dice = world.script, world.dice
    script.mark(SETUP)
    shell = world.start(1)
    script.mark(ROUNDS)
    yield world.rows()
    while True:
        child = world.fork(shell)
        script.work(0, child, 6)
        for _ in range(dice.between(1, 3)):
            program = dice.below(60)
            world.execute(child, program)
            code = world.areas(program)[0]
            script.touch(0, child, code[0], code[1], flags=READ)
            script.work(0, child, 120, within=48)
            script.copy(0, child, world.layout.heap_page, dice.between(1, 12), writes=True)
        world.exit(child)
        script.work(0, shell, 12)
        yield world.rows()


def _many(world: World) -> Iterator[Rows]:
    """Thousands of processes take turns; only the kernel's tables are common to all."""
    script, dice, vcpus = world.script, world.dice, world.hardware.vcpus
    script.mark(SETUP)
    living: list[int] = []
    for number in range(world.hardware.processes - 1):
        vcpu = number % vcpus
        living.append(world.start(number, vcpu=vcpu))
        if len(world.script) > WHOLE:
            yield world.rows()
    script.mark(ROUNDS)
    while True:
        for turn in range(256):
            vcpu = turn % vcpus
            process = dice.pick(living)
            script.work(vcpu, process, dice.between(4, 24))
            if dice.chance(30):
                script.copy(vcpu, process, world.layout.heap_page, 2, writes=True)
            if dice.chance(2):
                living.remove(process)
                world.exit(process, vcpu=vcpu)
                living.append(world.start(dice.below(60), vcpu=vcpu))
                script.touch(vcpu, living[-1], world.layout.heap_page, 4, flags=WRITE)
        yield world.rows()


FORK: Final = Recipe(
    name="fork",
    does="fork storms: children share a filled heap and write parts of it, some run a program",
    rounds=_fork,
    marks=MARKS,
)
EXEC: Final = Recipe(
    name="exec",
    does="a shell starts program after program: an address space built and torn down each time",
    rounds=_exec,
    marks=MARKS,
)
MANY: Final = Recipe(
    name="many",
    does="thousands of processes that share the kernel's tables take turns",
    rounds=_many,
    marks=MARKS,
    processes=2000,
    ram_mib=768,
)
