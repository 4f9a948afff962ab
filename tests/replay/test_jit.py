"""Compiling once where many processes start: the lock and the mark, without a compiler's work."""

import threading

import pytest

from refault.replay.compile import jit


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("REFAULT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def compile_in_thread(entered):
    def compile_it():
        with jit.compiling_alone():
            entered.set()

    thread = threading.Thread(target=compile_it)
    thread.start()
    return thread


def test_the_second_waits_until_the_first_has_compiled_everything():
    entered = threading.Event()
    with jit.compiling_alone():
        second = compile_in_thread(entered)
        assert not entered.wait(0.3)
    second.join(10)
    assert entered.is_set()


def test_once_everything_is_compiled_nobody_waits():
    with jit.compiling_alone():
        pass
    entered = threading.Event()
    with jit.compiling_alone():
        second = compile_in_thread(entered)
        assert entered.wait(10)
    second.join(10)


def test_one_that_failed_leaves_the_work_to_the_next():
    def fail():
        with jit.compiling_alone():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    test_the_second_waits_until_the_first_has_compiled_everything()


def test_without_a_place_for_a_cache_each_compiles_for_itself(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("REFAULT_CACHE", str(tmp_path / "file"))
    with jit.compiling_alone():
        pass
