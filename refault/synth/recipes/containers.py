"""Containers as dense as PVM runs them: guests of many short programs, with two roots each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from refault.synth.commands import Rows
from refault.synth.recipes.recipe import ROUNDS, SETUP, WHOLE, Recipe, World

MARKS: Final = {str(SETUP): "the containers start", str(ROUNDS): "the rounds begin"}
RESIDENT: Final = 3  # processes of a container that stay


def _pvm(world: World) -> Iterator[Rows]:
    """Each container has some resident processes, which start short ones all the time."""
    script, dice, vcpus = world.script, world.dice, world.hardware.vcpus
    count = max(1, (world.hardware.processes - vcpus) // (RESIDENT + 1))
    script.mark(SETUP)
    containers: list[list[int]] = []
    for number in range(count):
        vcpu = number % vcpus
        containers.append([world.start(number * 5 + each, vcpu=vcpu) for each in range(RESIDENT)])
        if len(world.script) > WHOLE:
            yield world.rows()
    script.mark(ROUNDS)
    while True:
        for _ in range(32):
            vcpu, residents = world.vcpu(), dice.pick(containers)
            for _ in range(dice.between(1, 4)):
                resident = dice.pick(residents)
                script.work(vcpu, resident, dice.between(6, 24))
                script.copy(vcpu, resident, world.layout.heap_page + dice.below(32), 1, writes=True)
            if dice.chance(25):
                child = world.fork(dice.pick(residents), vcpu=vcpu)
                world.execute(child, dice.below(60), vcpu=vcpu)
                script.work(vcpu, child, dice.between(30, 120))
                world.exit(child, vcpu=vcpu)
        yield world.rows()


PVM: Final = Recipe(
    name="pvm",
    does="container density as PVM has it: many containers, short programs, two roots a process",
    rounds=_pvm,
    marks=MARKS,
    processes=320,
    ram_mib=768,
    pti=True,
)
