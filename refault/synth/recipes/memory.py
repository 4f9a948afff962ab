"""Memory that changes: mapping and unmapping, copy on write, large pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from refault.synth import words as w
from refault.synth.commands import READ, WRITE, Rows
from refault.synth.recipes.recipe import HEAP, ROUNDS, SETUP, Recipe, World

MARKS: Final = {str(SETUP): "the first programs start", str(ROUNDS): "the rounds begin"}
SPLIT: Final = 3
COLLAPSE: Final = 4
AREA_PAGES: Final = 2048  # between the areas that are mapped and unmapped


def _mmap(world: World) -> Iterator[Rows]:
    """Areas are mapped, written, made read-only and writable again, and unmapped."""
    script, dice = world.script, world.dice
    script.mark(SETUP)
    workers = [world.start(number) for number in range(3)]
    script.mark(ROUNDS)
    yield world.rows()
    while True:
        worker = dice.pick(workers)
        areas = []
        for number in range(dice.between(1, 8)):
            page = world.layout.map_page + number * AREA_PAGES + dice.below(512)
            pages = dice.pick((1, 2, 4, 8, 16, 40, 120, 600))
            script.mmap(0, worker, page, pages, how=HEAP)
            script.touch(0, worker, page, pages, flags=dice.pick((READ, WRITE, WRITE)))
            areas.append((page, pages))
        script.work(0, worker, 50)
        for page, pages in areas:
            if dice.chance(40):
                script.protect(0, worker, page, pages, writable=False)
                script.touch(0, worker, page, pages, flags=READ)
                script.protect(0, worker, page, pages, writable=True)
                script.touch(0, worker, page, min(pages, 64), flags=WRITE)
        for page, pages in areas:
            script.munmap(0, worker, page, pages)
        yield world.rows()


def _cow(world: World) -> Iterator[Rows]:
    """Two generations of children write what they share, page by page, beside their parent."""
    script, dice = world.script, world.dice
    script.mark(SETUP)
    parent = world.start(1)
    world.fill(parent, 256)
    script.mark(ROUNDS)
    yield world.rows()
    while True:
        child = world.fork(parent)
        grandchild = world.fork(child)
        for _ in range(dice.between(4, 12)):
            writer = dice.pick((parent, child, grandchild))
            world.fill(writer, dice.between(1, 32), offset=dice.below(224))
            script.work(0, writer, 30, within=256)
        world.exit(grandchild)
        world.fill(child, 64)
        world.exit(child)
        world.fill(parent, 256)
        yield world.rows()


def _thp(world: World) -> Iterator[Rows]:
    """Large pages appear, are split by unmapping a part and by fork, and are made again."""
    script, dice = world.script, world.dice
    size = world.layout.huge_frames
    first = (world.layout.map_page // size + 1) * size
    script.mark(SETUP)
    worker = world.start(1)
    script.mark(ROUNDS)
    yield world.rows()
    while True:
        count = dice.between(2, 5)
        script.mmap(0, worker, first, count * size, how=HEAP | w.HUGE)
        for number in range(count):
            start = first + number * size
            script.touch(0, worker, start + dice.below(size - 16), 16, flags=WRITE)
        script.work(0, worker, 60)
        script.mark(SPLIT)
        for number in range(count):
            start = first + number * size
            if dice.chance(60):
                script.split(0, worker, start)
                script.touch(0, worker, start, 64, flags=WRITE)
        if dice.chance(30):
            child = world.fork(worker)
            script.touch(0, child, first, 48, flags=WRITE)
            script.work(0, child, 30)
            world.exit(child)
        script.touch(0, worker, first, size, flags=WRITE)
        script.mark(COLLAPSE)
        for number in range(count):
            script.collapse(0, worker, first + number * size)
            script.touch(0, worker, first + number * size, 32, flags=READ)
        script.munmap(0, worker, first, count * size)
        yield world.rows()


MMAP: Final = Recipe(
    name="mmap",
    does="areas mapped, written, protected and unmapped: single flushes and whole ones",
    rounds=_mmap,
    marks=MARKS,
)
COW: Final = Recipe(
    name="cow",
    does="copy on write: parent, child and grandchild write the pages they share",
    rounds=_cow,
    marks=MARKS,
)
THP: Final = Recipe(
    name="thp",
    does="large pages (2 MiB; 4 MiB without PAE) made, split, written, forked and collapsed",
    rounds=_thp,
    marks={**MARKS, str(SPLIT): "large pages are split", str(COLLAPSE): "they are made again"},
    wants_huge=True,
)
