"""`refault synth`, and address streams given to `refault import`, as a user types them."""

import json

import pytest

from refault.trace import TraceReader
from tests.cli.running import run_here
from tests.synth import made_streams as made


@pytest.fixture
def refault(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *words, **given: run_here(monkeypatch, tmp_path, *words, **given)


def test_a_recipe_becomes_a_trace_that_replays(refault, tmp_path):
    answer = refault("synth", "fork", "--seed", 7, "--events", "20K", "-o", "fork.rft")
    assert answer.returncode == 0
    assert answer.stdout.startswith("fork.rft: 20,000 events, ")
    assert not list(tmp_path.glob("*.partial"))
    answer = refault("replay", "fork.rft", "-v", "base", "-v", "walk")
    assert answer.returncode == 0


def test_the_name_is_made_of_what_was_asked_for(refault, tmp_path):
    answer = refault("synth", "cow", "--mode", "pae", "--length", "50K", "--json")
    told = json.loads(answer.stdout)
    assert told["trace"] == "cow-pae-1.rft"
    assert told["instruction_count"] >= 50_000
    assert told["provenance"]["recipe"] == "cow"
    assert told["losses"]
    with TraceReader(tmp_path / "cow-pae-1.rft") as trace:
        assert trace.header.guest_mode == "pae"
        assert trace.header.origin == "synthetic"


def test_the_list_says_what_each_recipe_does(refault):
    listed = json.loads(refault("synth", "list", "--json").stdout)
    text = refault("synth", "list").stdout
    assert len(listed) == 11
    for each in listed:
        assert each["recipe"] in text
        assert each["does"]
        assert each["modes"] == ["long", "pae", "32bit"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("forks",), "refault synth list"),
        (("fork", "--events", "many"), "--events many: give a whole number"),
        (("fork", "--mode", "5level"), "no synthetic guest has five levels"),
        (("fork", "--vcpus", "70"), "vcpus 70: it must be from 1 to 8"),
        (("fork", "--events", "5", "--length", "5"), "give the length once"),
        (("fork", "--events", "5K", "-o", "no/such/folder.rft"), "cannot be written"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(words, why, refault, tmp_path):
    answer = refault("synth", *words)
    assert answer.returncode == 2
    assert why in answer.stderr
    assert not list(tmp_path.glob("*.rft*"))


def test_an_address_stream_is_imported(refault, tmp_path):
    (tmp_path / "log").write_text(made.LACKEY)
    answer = refault("import", "log", "--out", "traces", "--json")
    assert answer.returncode == 0, answer.stderr
    with TraceReader(tmp_path / "traces" / "log.rft") as trace:
        assert trace.header.origin == "addresses"


def test_an_address_stream_is_replayed_as_it_is_recognised(refault, tmp_path):
    (tmp_path / "trace").write_bytes(made.drmemtrace(*made.many_references(300)))
    answer = refault("replay", "trace")
    assert answer.returncode == 2
    assert "`refault import trace` makes a trace of it" in answer.stderr
