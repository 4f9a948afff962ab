"""Guest frames: a list of free ones, newest first, and whole blocks for large pages."""

from __future__ import annotations

from refault.replay.compile.jit import kernel
from refault.synth import words as w
from refault.synth.words import Guest


@kernel
def field(frame: int, which: int) -> int:
    """Where a field of a frame stands."""
    return frame * w.FRAME_WORDS + which


@kernel
def push(g: Guest, frame: int) -> None:
    """Put a frame at the head of the free list."""
    head = g.state[w.FREE_HEAD]
    g.frames[field(frame, w.NEXT)] = head
    g.frames[field(frame, w.PREV)] = 0
    g.frames[field(frame, w.IS_FREE)] = 1
    if head:
        g.frames[field(head, w.PREV)] = frame
    g.state[w.FREE_HEAD] = frame
    g.state[w.FREE_COUNT] += 1
    g.blocks[frame // g.state[w.HUGE_FRAMES] * w.BLOCK_WORDS + w.BLOCK_FREE] += 1


@kernel
def unlink(g: Guest, frame: int) -> None:
    """Take a frame out of the free list, wherever it stands."""
    before, behind = g.frames[field(frame, w.PREV)], g.frames[field(frame, w.NEXT)]
    if before:
        g.frames[field(before, w.NEXT)] = behind
    else:
        g.state[w.FREE_HEAD] = behind
    if behind:
        g.frames[field(behind, w.PREV)] = before
    g.frames[field(frame, w.IS_FREE)] = 0
    g.state[w.FREE_COUNT] -= 1
    g.blocks[frame // g.state[w.HUGE_FRAMES] * w.BLOCK_WORDS + w.BLOCK_FREE] -= 1


@kernel
def free_frame(g: Guest, frame: int) -> None:
    """Nobody uses the frame any more; a block that is whole again becomes one."""
    g.frames[field(frame, w.REF)] = 0
    g.frames[field(frame, w.OWNER)] = 0
    push(g, frame)
    size = g.state[w.HUGE_FRAMES]
    block = frame // size
    if not g.state[w.WANTS_HUGE] or g.blocks[block * w.BLOCK_WORDS + w.BLOCK_FREE] != size:
        return
    for i in range(size):
        unlink(g, block * size + i)
    g.blocks[block * w.BLOCK_WORDS + w.BLOCK_NEXT] = g.state[w.HUGE_HEAD]
    g.state[w.HUGE_HEAD] = block + 1
    g.state[w.HUGE_COUNT] += 1


@kernel
def take_block(g: Guest) -> int:
    """The first frame of a free block, or 0."""
    block = g.state[w.HUGE_HEAD] - 1
    if block < 0:
        return 0
    g.state[w.HUGE_HEAD] = g.blocks[block * w.BLOCK_WORDS + w.BLOCK_NEXT]
    g.state[w.HUGE_COUNT] -= 1
    return block * g.state[w.HUGE_FRAMES]


@kernel
def pop(g: Guest) -> int:
    """The newest free frame; breaks a block if there is none. 0 stops the guest."""
    if not g.state[w.FREE_HEAD]:
        first = take_block(g)
        if not first:
            g.state[w.STOPPED] = w.OUT_OF_MEMORY
            return 0
        for i in range(g.state[w.HUGE_FRAMES]):
            push(g, first + g.state[w.HUGE_FRAMES] - 1 - i)
    frame = g.state[w.FREE_HEAD]
    unlink(g, frame)
    g.frames[field(frame, w.OWNER)] = 0
    g.frames[field(frame, w.REF)] = 1
    return frame


@kernel
def release(g: Guest, frame: int) -> None:
    """One mapping less; the last one frees the frame."""
    left = g.frames[field(frame, w.REF)] - 1
    g.frames[field(frame, w.REF)] = left
    if left == 0:
        free_frame(g, frame)


@kernel
def free_frames(g: Guest) -> int:
    """Frames that can be handed out, those of free blocks included."""
    return g.state[w.FREE_COUNT] + g.state[w.HUGE_COUNT] * g.state[w.HUGE_FRAMES]


@kernel
def roll(g: Guest, below: int) -> int:
    """A number from 0 to ``below`` - 1 (minimal standard generator, Park and Miller 1988)."""
    g.state[w.DICE] = g.state[w.DICE] * 48271 % 0x7FFF_FFFF
    return (g.state[w.DICE] >> 3) % below
