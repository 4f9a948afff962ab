import json

from typer.testing import CliRunner

from refault import glossary
from refault.cli.main import app
from refault.errors import NotFound


def run(*words):
    return CliRunner().invoke(app, ["explain", *words])


def test_words_are_explained_with_where_to_read_more():
    done = run("mmu_cache_miss", "worse")

    assert done.exit_code == 0
    assert done.output.startswith("mmu_cache_miss  (Host work: the counters that decide)\n  Shadow")
    assert "regression  (Verdicts)\n  A cost rose" in done.output
    assert "More in docs/howto/read-a-comparison.md." in done.output
    assert max(map(len, done.output.splitlines())) <= 72


def test_without_a_word_the_names_of_all_are_listed():
    done = run()

    assert done.exit_code == 0
    listed = " ".join(done.output.split())
    assert not [entry.name for entry in glossary.ENTRIES if entry.name not in listed]


def test_json_has_the_entries_whole():
    one = json.loads(run("F-P2", "--json").output)
    everything = json.loads(run("--json").output)

    assert [entry["anchor"] for entry in one] == ["F-P2"]
    assert len(everything) == len(glossary.ENTRIES)


def test_a_word_that_is_none_is_bad_input_with_the_nearest_name():
    done = run("remote_tlb_flsh")

    assert isinstance(done.exception, NotFound)
    assert "did you mean remote_tlb_flush?" in str(done.exception)
