"""What is kept of a report's work, and that it is not done twice."""

import pytest

from refault.catalogue import patch_set_from_text, resolve
from refault.replay.session import warm_up
from refault.thread.shelf import Shelf
from tests.thread.running import benches

VECTOR = "s29_lost_mark"


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """Loaded from where they are kept; below, only the shelf has a cache of its own."""
    warm_up()


@pytest.fixture
def shelf(monkeypatch, tmp_path):
    monkeypatch.setenv("REFAULT_CACHE", str(tmp_path / "cache"))
    return Shelf()


def variant(text):
    return resolve(patch_set_from_text(text))


def measured(shelf):
    """All that is measured of two variants, and what was computed for it."""
    titles = set()
    with benches(VECTOR, shelf=shelf, progress=lambda title, *_: titles.add(title)) as [bench]:
        found = bench.measure([variant("p2"), variant("p3")])
        first = bench.difference(variant("p2"), variant("p3"))
    return (found.results, found.audits, first), titles


def test_a_second_time_nothing_is_computed(shelf):
    once, titles = measured(shelf)
    again, none = measured(shelf)
    assert once == again
    assert {title.partition(",")[0] for title in titles} == {
        "replay", "audit", "first difference",
    }  # fmt: skip
    assert not none


def test_a_damaged_file_is_as_good_as_none(shelf):
    once, titles = measured(shelf)
    for number, path in enumerate(sorted(shelf.folder.iterdir())):
        path.write_bytes((b"", b"\x80", b"\xc1", b"\x81\xa1a\x01")[number % 4])
    again, recomputed = measured(shelf)
    assert (again, recomputed) == (once, titles)


def test_that_two_variants_do_not_differ_is_kept_too(shelf):
    computed = []
    for _ in range(2):
        titles = set()
        with benches(
            VECTOR, shelf=shelf, progress=lambda title, *_, told=titles: told.add(title)
        ) as [bench]:
            assert bench.difference(variant("base"), variant("p2")) is None
        computed.append(bool(titles))
    assert computed == [True, False]


def test_a_folder_that_cannot_be_written_keeps_nothing(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("REFAULT_CACHE", str(tmp_path / "file"))
    shelf = Shelf()
    shelf.put({"a": 1}, "key")
    assert shelf.get("key") is None


def test_the_shelf_stays_within_its_bytes(shelf):
    small = Shelf(bytes_max=1000)
    for number in range(40):
        small.put({"text": "x" * 90}, str(number))
    sizes = [path.stat().st_size for path in shelf.folder.iterdir()]
    assert sum(sizes) <= 1000
    assert small.get("39") == {"text": "x" * 90}
