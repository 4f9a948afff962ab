"""Windows in which something is counted."""

import sqlalchemy as sa

from db.models import RateWindow
from db.repositories import rates
from tests.builders import transaction


def count(store, key="requests:token:1", window_seconds=60):
    with transaction(store.engine) as session:
        return rates.count(session, key, window_seconds)


def let_pass(store, seconds):
    """Moves what is counted back; the database's clock is the only one."""
    with transaction(store.engine) as session:
        earlier = RateWindow.started_at - sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        session.execute(sa.update(RateWindow).values(started_at=earlier))


def test_a_window_begins_with_the_first_and_not_by_the_clock(store):
    assert count(store) == (1, 60)
    let_pass(store, 50)
    done_count, seconds_left = count(store)
    assert done_count == 2
    assert 1 <= seconds_left <= 10
    let_pass(store, 10)
    # What came late in the window does not make it longer.
    assert count(store) == (1, 60)


def test_keys_are_counted_apart(store):
    assert [count(store, key)[0] for key in ("a", "b", "a")] == [1, 1, 2]


def test_windows_of_more_than_a_day_ago_are_forgotten(store):
    count(store, "old")
    let_pass(store, 24 * 3600)
    count(store, "new")
    with transaction(store.engine) as session:
        rates.forget_old(session)
    with transaction(store.engine) as session:
        assert session.scalars(sa.select(RateWindow.key)).all() == ["new"]
