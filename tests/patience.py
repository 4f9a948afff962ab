"""How long a test waits for what must come.

A test waits for progress, not for seconds: on a busy machine everything takes many times as long,
and only a test that fails waits to the end. What must be quick is shown in ``benchmarks/``.
"""

import time

import anyio

# Well under the limit of a whole test (pyproject.toml), so that the test says what never came.
PATIENCE_SECONDS = 600


def eventually(find, what, *, every_seconds=0.02):
    """The first true answer of ``find()``; ``what`` is a string, or a function that makes it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := find()):
        assert time.monotonic() < deadline, _never(what)
        time.sleep(every_seconds)
    return found


async def eventually_async(find, what, *, every_seconds=0.02):
    """The same for coroutines, with a ``find`` that may be one."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = find()
        if hasattr(found, "__await__"):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, _never(what)
        await anyio.sleep(every_seconds)


def _never(what):
    return f"never came: {what() if callable(what) else what}"
