"""Every word that results, audits, comparisons and the documents use has an entry."""

import re
from collections import Counter

import pytest

from refault import glossary
from refault.audits import CHECKS, EXCEPTIONS
from refault.compare import COSTS, Verdict
from refault.compare.titles import SEMANTICS as TITLES
from refault.engines.shadow.defects import BUGS
from refault.errors import NotFound
from refault.glossary import ENTRIES, GROUPS
from refault.replay.lowering.known_memory import SKIP_REASONS
from refault.replay.records import SKIP_REASONS as REFUSED
from refault.results import (
    ANSWERS,
    COUNTERS,
    GAUGES,
    GUEST_VISIBLE_KINDS,
    LOGS,
    SEMANTICS,
    WORK,
)
from tests.architecture.source_files import ROOT

SECTIONS = {
    "## Terms of this project": "terms",
    "### A team": "team",
    "## Words of KVM and the manuals": "kvm",
}


def names(*groups):
    return {entry.name for entry in ENTRIES if entry.group in groups}


def called(word):
    return [entry for entry in ENTRIES if entry.is_called(word)]


def test_every_counter_of_a_result_has_one_entry_in_its_group():
    assert names("costs") == set(COSTS)
    assert names("gauges") == GAUGES
    assert names("costs", "counters", "gauges") == set(COUNTERS)
    assert names("work") == set(WORK)
    assert names("answers") == {*ANSWERS, *LOGS}
    assert names("semantics") == {*SEMANTICS, "outcomes"}


def test_every_verdict_has_an_entry_under_each_of_its_names():
    for verdict in Verdict:
        for word in (verdict.value, verdict.word, verdict.title):
            assert "verdicts" in {entry.group for entry in called(word)}, word


def test_checks_and_exceptions_are_those_of_the_audit():
    assert names("checks") == set(CHECKS)
    assert names("exceptions") == set(EXCEPTIONS)


def test_every_row_of_what_the_guest_saw_is_called_as_the_tables_call_it():
    assert not [title for title in TITLES.values() if not called(title)]


def test_every_kind_of_finding_has_an_entry():
    kinds = {*GUEST_VISIBLE_KINDS, *(kind for kind, _ in BUGS.values())}
    assert not [kind for kind in kinds if not called(kind)]
    text = (ROOT / "docs" / "GLOSSARY.md").read_text()
    [row] = [line for line in text.splitlines() if line.startswith("| finding kind |")]
    listed = [word for word in re.findall(r"`([a-z-]+)`", row) if word != "endless-unmap"]
    assert len(listed) > 10
    assert not [kind for kind in listed if not called(kind)]


def test_every_reason_not_to_replay_an_event_has_an_entry():
    assert names("skipped") == {*SKIP_REASONS, *REFUSED}


def test_terms_have_the_sentences_of_the_document():
    rows = {}
    section = ""
    for line in (ROOT / "docs" / "GLOSSARY.md").read_text().splitlines():
        section = SECTIONS.get(line, section)
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3:
            rows[section, plain(cells[1])] = plain(cells[2])
    terms = [entry for entry in ENTRIES if entry.group in {"terms", "team", "kvm"}]
    assert len(terms) > 80
    for entry in terms:
        assert rows[entry.group, ", ".join((entry.name, *entry.also))] == entry.text


def plain(text):
    text = re.sub(r"\s*\(\[howto\]\([^)]*\)\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return text.replace("`", "").replace("**", "")


def test_anchors_are_given_once_and_every_group_is_used():
    anchors = Counter(each.anchor for each in (*ENTRIES, *GROUPS))
    assert [anchor for anchor, count in anchors.items() if count > 1] == []
    assert all(re.fullmatch(r"[A-Za-z0-9_.'-]+", anchor) for anchor in anchors)
    assert {entry.group for entry in ENTRIES} == {group.name for group in GROUPS}


def test_every_page_that_an_entry_names_exists():
    named = {entry.more for entry in ENTRIES if entry.more}
    assert named
    assert all((ROOT / "docs" / page).is_file() for page in named)


def test_a_counter_is_explained_and_a_slip_is_corrected():
    [entry] = glossary.explain("EXITS")
    assert entry.name == "exits"
    assert {entry.group for entry in glossary.explain("base")} == {"verdicts", "terms"}
    with pytest.raises(NotFound, match=r"did you mean mmu_pte_write\?"):
        glossary.explain("mmu_pte_writ")


def test_a_search_puts_what_is_called_so_first():
    found = glossary.search("synced")
    assert found[0].name == "synced"
    assert len(found) > 1
    assert glossary.search("no such word at all") == ()


def test_a_table_leads_to_the_counter_and_not_to_the_verdict():
    assert glossary.anchor_of("witnessed") == "witnessed"
    assert glossary.anchor_of("wrong address") == "wrong_address"
    assert glossary.anchor_of("a counter nobody has") == ""
