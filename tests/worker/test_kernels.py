"""Which workers build users' kernels, which only run them, and which do neither."""

import pytest

from db.shards.messages import QUEUE_BUILDS, QUEUE_QUESTIONS, QUEUE_SHARDS
from refault.errors import NoCompiler
from worker import kernels, lifecycle


@pytest.fixture
def settings(resources):
    return resources.settings.model_copy(update={"builds": True})


def no_compiler():
    raise NoCompiler("no gcc")


def test_no_worker_builds_unless_it_is_told_to(resources, monkeypatch):
    monkeypatch.setattr(kernels, "what_is_open", lambda: pytest.fail("nobody asked"))
    kernels.check_walls(resources.settings)
    assert kernels.queues(resources.settings) == [QUEUE_SHARDS, QUEUE_QUESTIONS]


def test_a_worker_with_a_compiler_listens_for_builds_too(settings, monkeypatch):
    monkeypatch.setattr(kernels, "what_is_missing", lambda: "")
    assert kernels.queues(settings) == [QUEUE_SHARDS, QUEUE_QUESTIONS, QUEUE_BUILDS]


@pytest.mark.parametrize(
    ("name", "answer", "reason"),
    [
        ("find_compiler", no_compiler, "no C compiler"),
        ("captures", list, "captures are not there"),
    ],
)
def test_a_worker_that_lacks_something_takes_no_builds(
    settings, monkeypatch, caplog, name, answer, reason
):
    monkeypatch.setattr(kernels, name, answer)
    assert kernels.queues(settings) == [QUEUE_SHARDS, QUEUE_QUESTIONS]
    assert reason in caplog.text


def test_without_walls_no_worker_starts_that_would_run_users_code(settings, monkeypatch, capsys):
    """By `python -m worker` or by `celery --app worker.app`: both go through the signal."""
    monkeypatch.setattr(kernels, "what_is_open", lambda: "this kernel has no Landlock")
    monkeypatch.setattr(lifecycle, "load", lambda: settings)
    with pytest.raises(SystemExit) as ended:
        lifecycle._start(None)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "no Landlock" in told
    assert "REFAULT_BUILDS" in told
