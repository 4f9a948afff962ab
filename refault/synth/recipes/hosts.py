"""What the host does to a guest: page limits, notifiers, dirty logging for live migration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from refault.synth.commands import WRITE, Rows
from refault.synth.recipes.recipe import HEAP, HEAP_PAGES, ROUNDS, SETUP, Recipe, World
from refault.trace.format import EventKind

MARKS: Final = {str(SETUP): "the first programs start", str(ROUNDS): "the rounds begin"}
TIGHT: Final = 3
PASS: Final = 3
CALLED_OFF: Final = 4
FRAMES_PER_MIB_BITS: Final = 8
PAGE_LIMITS: Final = (1200, 700, 500, 300)
EXTRA_PAGES: Final = 1024


def _pressure(world: World) -> Iterator[Rows]:
    """The guest reclaims pages; the host lowers its limit, ages and unmaps what backs it."""
    script, dice = world.script, world.dice
    script.mark(SETUP)
    workers = [world.start(number) for number in range(8)]
    for worker in workers:
        script.mmap(0, worker, world.layout.map_page, EXTRA_PAGES, how=HEAP)
        script.touch(0, worker, world.layout.map_page, EXTRA_PAGES, flags=WRITE)
        world.fill(worker, HEAP_PAGES)
    script.mark(ROUNDS)
    yield world.rows()
    turn = 0
    while True:
        turn += 1
        if turn % 6 == 0:
            script.mark(TIGHT)
            script.host(EventKind.OP_NR_PAGES, a=dice.pick(PAGE_LIMITS))
        worker = dice.pick(workers)
        page = world.layout.map_page + dice.below(EXTRA_PAGES - 64)
        script.touch(0, worker, page, 64, flags=WRITE)
        script.work(0, worker, 80, within=HEAP_PAGES)
        script.reclaim(0, worker, dice.between(8, 96))
        for _ in range(dice.between(1, 6)):
            kind = EventKind.OP_UNMAP if dice.chance(60) else EventKind.OP_AGE
            place = world.layout.map_page + dice.below(EXTRA_PAGES)
            script.host_page(kind, dice.pick(workers), place)
        if dice.chance(20):
            script.host(EventKind.OP_SHRINK, a=dice.between(8, 128))
        yield world.rows()


def _migration(world: World) -> Iterator[Rows]:
    """Programs write while the host logs dirty pages and fetches the log again and again.

    The first reading of a log protects all; each further one only if something was written. Now and
    then a balloon takes a range of frames. After some passes the migration is called off and the
    guest goes on without a log, until the next one begins.
    """
    script, dice = world.script, world.dice
    script.mark(SETUP)
    workers = [world.start(number) for number in range(4)]
    for worker in workers:
        world.fill(worker, HEAP_PAGES)
    script.mark(ROUNDS)
    yield world.rows()
    frames = world.hardware.ram_mib << FRAMES_PER_MIB_BITS
    while True:
        script.host(EventKind.OP_LOG, aux=0)
        for number in range(dice.between(8, 16)):
            script.mark(PASS)
            _pass(world, workers)
            if dice.chance(25):
                taken = dice.between(16, 512)
                script.host(EventKind.OP_UNMAP_RANGE, a=dice.below(frames - taken), b=taken)
            kind = EventKind.OP_GET_DIRTY_LOG if number else EventKind.OP_DIRTYLOG
            script.host(kind, aux=0)
            yield world.rows()
        script.mark(CALLED_OFF)
        script.host(EventKind.OP_LOG_OFF, aux=0)
        for _ in range(dice.between(2, 5)):
            _pass(world, workers)
            yield world.rows()


def _pass(world: World, workers: list[int]) -> None:
    """What the programs do between two readings of the log."""
    script, dice = world.script, world.dice
    for _ in range(dice.between(6, 20)):
        worker = dice.pick(workers)
        world.fill(worker, dice.between(8, 96), offset=dice.below(HEAP_PAGES - 96))
        script.work(0, worker, 60, within=HEAP_PAGES)
    if dice.chance(30):
        child = world.fork(dice.pick(workers))
        world.fill(child, 24)
        world.exit(child)


PRESSURE: Final = Recipe(
    name="pressure",
    does="the guest reclaims pages, the host limits shadow pages, ages and unmaps frames",
    rounds=_pressure,
    marks={**MARKS, str(TIGHT): "the host changes its limit of shadow pages"},
)
MIGRATION: Final = Recipe(
    name="migration",
    does="dirty logging as for live migration, on and off: pass after pass while programs write",
    rounds=_migration,
    marks={
        **MARKS,
        str(PASS): "a pass over the dirty log begins",
        str(CALLED_OFF): "the migration is called off",
    },
)
