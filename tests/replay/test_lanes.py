"""Lanes by themselves: order, errors and endings, with hosts that only take notes."""

import threading

import pytest

from refault.replay import lanes


class NotingHost:
    """Notes the parts it is given; raises at one of them if told so."""

    def __init__(self, broken_at=None):
        self.parts = []
        self.broken_at = broken_at
        self.busy = threading.Lock()

    def execute(self, ops, count):
        assert self.busy.acquire(blocking=False), "two threads at one host"
        try:
            if ops == self.broken_at:
                msg = f"part {ops}"
                raise ValueError(msg)
            self.parts.append((ops, count))
        finally:
            self.busy.release()

    def abort(self):
        """Its parts take no time."""


def rows(parts):
    return ((part, part + 1, 10 * part) for part in range(parts))


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
@pytest.mark.parametrize("parts", [0, 1, lanes.PARTS_AHEAD, 50])
def test_every_host_executes_every_part_in_order(threads, parts):
    hosts = [NotingHost() for _ in range(4)]
    seen = list(lanes.execute(hosts, rows(parts), threads))
    assert seen == list(rows(parts))
    for host in hosts:
        assert host.parts == [(part, part + 1) for part in range(parts)]


def test_what_a_host_raises_is_raised_where_the_rows_are_made():
    before = threading.active_count()
    hosts = [NotingHost(), NotingHost(broken_at=7), NotingHost()]
    with pytest.raises(ValueError, match="part 7"):
        list(lanes.execute(hosts, rows(50), 2))
    assert threading.active_count() == before
    assert hosts[1].parts == [(part, part + 1) for part in range(7)]


def test_a_reader_that_leaves_early_leaves_no_thread_behind():
    before = threading.active_count()
    steps = lanes.execute([NotingHost() for _ in range(3)], rows(1000), 3)
    assert next(steps) == (0, 1, 0)
    assert threading.active_count() > before
    steps.close()
    assert threading.active_count() == before


def test_rows_that_cannot_be_made_end_all_lanes():
    before = threading.active_count()

    def broken():
        yield from rows(3)
        msg = "damaged"
        raise OSError(msg)

    with pytest.raises(OSError, match="damaged"):
        list(lanes.execute([NotingHost()], broken(), 2))
    assert threading.active_count() == before


def test_no_part_is_overwritten_before_the_slowest_host_had_it():
    slow = threading.Event()
    ahead = []

    class SlowHost(NotingHost):
        def execute(self, ops, count):
            if ops == 0:
                slow.wait(10)
            super().execute(ops, count)

    def counted():
        for part in rows(40):
            ahead.append(part[0])
            if len(ahead) == lanes.PARTS_AHEAD:
                slow.set()
            yield part

    hosts = [SlowHost(), NotingHost()]
    taken = [len(hosts[0].parts) for _ in lanes.execute(hosts, counted(), 3)]
    assert all(
        made - done <= lanes.PARTS_AHEAD for made, done in zip(range(1, 41), taken, strict=True)
    )


def test_every_host_is_aborted_when_whoever_waits_has_enough():
    class EndlessHost(NotingHost):
        def __init__(self):
            super().__init__()
            self.aborted = threading.Event()

        def execute(self, ops, count):
            super().execute(ops, count)
            assert self.aborted.wait(60)

        def abort(self):
            self.aborted.set()

    hosts = [EndlessHost(), EndlessHost()]
    looks = []

    def look():
        looks.append(len(hosts[0].parts))
        if len(looks) > 20:
            msg = "enough"
            raise KeyboardInterrupt(msg)

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt, match="enough"):
        list(lanes.execute(hosts, rows(50), 2, look=look))
    assert threading.active_count() == before
    assert all(host.aborted.is_set() for host in hosts)


def test_no_host_at_all_is_through_at_once():
    assert list(lanes.execute([], rows(3), 2)) == list(rows(3))
