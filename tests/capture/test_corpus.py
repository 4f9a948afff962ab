import json
from pathlib import Path

import pytest

from refault.trace import TraceReader, trace_digest
from refault.verify import verify

DEMO = Path(__file__).parents[2] / "demo"
GUESTS = json.loads((DEMO / "corpus.json").read_text())["guests"]
SHIPPED = [guest for guest in GUESTS if guest["captured"]["ships"]]


def test_it_has_guests_of_every_kind_and_each_is_good():
    assert len(SHIPPED) >= 8
    captured = [guest["captured"] for guest in GUESTS]
    assert {each["guest_mode"] for each in captured} == {"long", "long5", "pae", "32bit"}
    assert {1, 2, 4} <= {each["vcpu_count"] for each in captured}
    assert all(each["agreed"] >= 0.9999 * each["witnesses"] > 0 for each in captured)
    names = [guest["name"] for guest in GUESTS]
    assert len(set(names)) == len(names)


def test_the_folder_holds_what_the_list_says_and_nothing_else():
    found = {path.stem for path in (DEMO / "corpus").glob("*.rft")}
    assert found == {guest["name"] for guest in SHIPPED}


@pytest.mark.parametrize("guest", SHIPPED, ids=lambda guest: guest["name"])
def test_a_shipped_trace_is_the_one_that_was_captured(guest):
    path, facts = DEMO / "corpus" / f"{guest['name']}.rft", guest["captured"]
    assert path.stat().st_size == facts["size_bytes"] <= 1_000_000
    assert trace_digest(path) == facts["digest"]
    with TraceReader(path) as reader:
        header = reader.header
        assert sum(block.event_count for block in reader.blocks()) == facts["event_count"]
    assert header.origin == "captured"
    assert header.guest_mode == facts["guest_mode"]
    assert header.provenance["kernel_sha256"] == facts["kernel_sha256"]
    assert header.losses


@pytest.mark.parametrize("name", ["exec-1cpu", "fork-32bit-1cpu", "fork-5level-1cpu"])
def test_a_shipped_trace_verifies(name):
    facts = next(guest["captured"] for guest in GUESTS if guest["name"] == name)
    found = verify(DEMO / "corpus" / f"{name}.rft")
    assert (found.asked, found.agreed) == (facts["witnesses"], facts["agreed"])
    assert found.is_good
