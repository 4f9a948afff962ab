"""``--service`` of audit, diverge and inspect: what is asked, what is shown, how it ends."""

import json
import threading
from functools import partial

import pytest

from refault.client import Client
from tests.api.test_questions import answer
from tests.builders import make_report
from tests.cli.running import run_here
from tests.patience import eventually

INSPECT = ("inspect", "boot", "-v", "p3", "--service", "--at-operation", 7, "--gva", "0x400000")


@pytest.fixture
def refault(live, token, tmp_path, monkeypatch):
    return partial(run_here, monkeypatch, tmp_path, REFAULT_URL=live, REFAULT_TOKEN=token)


@pytest.fixture
def client(live, token):
    with Client(live, token=token) as client:
        yield client


@pytest.fixture
def answered(rows, client):
    """Answers questions one after the other while a command waits for them."""
    rows.register_simulator()
    rows.add_trace("boot")
    threads = []

    def answered(*told):
        def work():
            for each in told:
                eventually(lambda: waiting(client), "a question")
                answer(rows, **each)

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield answered
    for thread in threads:
        thread.join()


def waiting(client):
    return [each for each in client.list_questions()["items"] if each["state"] == "queued"]


def test_what_is_asked_is_awaited_and_shown(refault, client, answered):
    view = {"answer": {"operation_index": 7}, "text": "boot under p3\n"}
    answered({"told": view})
    shown = refault(*INSPECT)
    assert (shown.returncode, shown.stdout) == (0, "boot under p3\n")
    [asked] = client.list_questions()["items"]
    assert asked["options"] == {"operation": 7, "back": 0, "gva": "0x400000"}
    assert [each["text"] for each in asked["variants"]] == ["p3"]
    # The answer is there: nobody is asked again, and JSON is the answer alone.
    assert json.loads(refault(*INSPECT, "--json").stdout) == view["answer"]

    answered({"told": {"answer": {"divergences": [{}]}, "text": "they differ\n"}})
    shown = refault("diverge", "boot", "base", "p3", "--service", "--on", "exits", "--next")
    assert (shown.returncode, shown.stdout) == (1, "they differ\n"), "a difference is exit code 1"
    assert client.list_questions()["items"][0]["options"] == {"on": "exits", "next": True}

    sound, broken = make_report(), make_report("F-U1")
    answered(
        {"told": {"answer": sound.to_dict(), "text": "one\n"}},
        {"told": {"answer": broken.to_dict(), "text": "two\n"}},
    )
    shown = refault("audit", "boot", "-v", "base", "-v", "p3", "--service", "--level", "sampled")
    assert (shown.returncode, shown.stdout) == (1, "one\n\ntwo\n")
    asked = client.list_questions(kind="audit")["items"]
    assert [each["variants"][0]["text"] for each in asked] == ["p3", "base"]
    assert asked[0]["options"] == {"level": "sampled", "every": 65_536, "seed": 0}


def test_what_cannot_be_asked_or_answered_is_said_in_a_line(refault, client, answered):
    answered({"error": "operation 7: beyond the end, there are 3 operations"})
    refusals = {
        INSPECT: (2, "boot: p3: operation 7: beyond the end, there are 3 operations"),
        ("inspect", "nosuch", "-v", "p3", "--service"): (2, "no trace 'nosuch'"),
        ("audit", "boot", "-v", "nosuch", "--service"): (2, "'nosuch' is not in the catalogue"),
        ("audit", "boot", "-v", "p3", "--service", "--out", "x.json"): (2, "--out"),
        ("inspect", "boot", "-v", "kernel:x", "--service"): (4, "no kernel x"),
        ("diverge", "boot", "base", "p3", "--service", "--on", "No!"): (2, "name of a counter"),
    }
    for words, (code, says) in refusals.items():
        shown = refault(*words)
        assert says in shown.stderr
        assert (shown.returncode, shown.stderr.count("\n")) == (code, 1), words
    assert len(client.list_questions()["items"]) == 1
