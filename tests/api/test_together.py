"""Equal questions asked at once are answered once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.api.comparisons.together import Together
from tests.patience import eventually


class Maker:
    """Makes answers, the first of which waits until it is let go."""

    def __init__(self) -> None:
        self.count = 0
        self.first = threading.Event()
        self.began = threading.Event()
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.count += 1
            number = self.count
        self.began.set()
        if number == 1:
            self.first.wait()
        return f"answer {number}"


def test_those_who_ask_meanwhile_share_the_next_answer():
    together, maker = Together(), Maker()
    with ThreadPoolExecutor(20) as threads:
        earliest = threads.submit(together.answer, "batch", maker)
        maker.began.wait()
        later = [threads.submit(together.answer, "batch", maker) for _ in range(19)]
        eventually(lambda: len(threads._threads) == 20, lambda: "twenty who ask")
        assert maker.count == 1
        maker.first.set()

        assert earliest.result() == "answer 1"
        assert {each.result() for each in later} <= {"answer 2", "answer 3"}
    assert maker.count <= 3
    assert not together._now
    assert not together._next


def test_other_questions_do_not_wait():
    together, maker = Together(), Maker()
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(together.answer, "one", maker)
        maker.began.wait()

        assert together.answer("another", lambda: "at once") == "at once"
        maker.first.set()
        assert slow.result() == "answer 1"


def test_a_failure_is_everybodys_and_the_next_question_is_asked_anew():
    together = Together()

    def fail() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        together.answer("batch", fail)

    assert together.answer("batch", lambda: "again") == "again"
