"""Equal questions asked at once are answered once: :class:`Together`.

::

    asks 1 ──► makes ───────────────────► answer 1
    asks 2 ────────► waits ─ makes ─────► answer 2
    asks 3 ──────────► waits ───────────► answer 2

Whoever asks while an answer is being made gets the next one, which is made of what is known after
the question, so nobody is shown less than he could have seen. Twenty people who watch a batch cost
as much as two.
"""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress


class Together:
    """Answers that are being made, each by the thread of one who asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[Hashable, Future[str]] = {}
        self._next: dict[Hashable, Future[str]] = {}

    def answer(self, key: Hashable, make: Callable[[], str]) -> str:
        """What ``make`` gives; equal keys must ask for equal things."""
        with self._lock:
            current = self._now.get(key)
            coming = self._next.get(key)
            is_mine = current is None or coming is None
            if current is None:
                coming = self._now[key] = Future()
            elif coming is None:
                coming = self._next[key] = Future()
        if not is_mine:
            return coming.result()
        if current is not None:
            with suppress(BaseException):
                current.result()
        return self._made(key, coming, make)

    def _made(self, key: Hashable, mine: "Future[str]", make: Callable[[], str]) -> str:
        with self._lock:
            if self._next.get(key) is mine:
                del self._next[key]
                self._now[key] = mine
        try:
            answer = make()
        except BaseException as error:
            self._end(key, mine)
            mine.set_exception(error)
            raise
        self._end(key, mine)
        mine.set_result(answer)
        return answer

    def _end(self, key: Hashable, mine: "Future[str]") -> None:
        with self._lock:
            if self._now.get(key) is mine:
                del self._now[key]
