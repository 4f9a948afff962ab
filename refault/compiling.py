"""How far the compiling of kernels is, for whoever waits for it: :func:`told`.

numba announces every function it really compiles, and none that it loads from the cache. Kernels
are compiled with the door that calls them, so the whole is known beforehand only as the kernels
that are loaded and not compiled yet; a few of them may turn out not to be needed.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_EVENT = "numba:compile"


@contextmanager
def told(tell: Callable[[int, int], object]) -> Iterator[None]:
    """Call ``tell`` with how many kernels are compiled, and how many there are to compile.

    First when compiling begins, then after each kernel, in the thread that compiles. It is never
    called where every kernel comes from the cache, nor where kernels are interpreted.
    """
    # numba takes half a second to load; who calls this is about to need it.
    from numba.core import event  # noqa: PLC0415

    listener = _listener(tell)
    event.register(_EVENT, listener)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        event.unregister(_EVENT, listener)  # type: ignore[no-untyped-call]


def _listener(tell: Callable[[int, int], object]) -> Any:
    from numba.core import event  # noqa: PLC0415

    class Counting(event.Listener):
        """Counts what is compiled."""

        def __init__(self) -> None:
            self.done = 0
            self.total = 0

        def on_start(self, event: Any) -> None:
            del event
            if not self.total:
                self.total = _waiting_count()
                tell(0, self.total)

        def on_end(self, event: Any) -> None:
            del event
            self.done += 1
            # A kernel is compiled again for arguments of other types, which nobody foresees.
            self.total = max(self.total, self.done)
            tell(self.done, self.total)

    return Counting()


def _waiting_count() -> int:
    """The kernels of this library that are loaded and not compiled."""
    from numba.core.dispatcher import Dispatcher  # noqa: PLC0415

    # By type(): isinstance() asks an object for its __class__, and a lazy one, such as Celery's,
    # would then read the configuration of a worker.
    return sum(
        issubclass(type(found), Dispatcher)
        and not found.overloads
        and found.py_func.__module__.startswith("refault.")
        for found in gc.get_objects()
    )
