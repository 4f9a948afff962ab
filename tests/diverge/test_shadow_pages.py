"""Pages as they are compared and named: held against the engine's own page set and event log."""

from pathlib import Path

import numpy as np
import pytest

from refault.catalogue import patch_set_from_text, resolve
from refault.diverge.decoded import Decoded
from refault.diverge.guest_walk import guest_walk
from refault.diverge.position import Position, save
from refault.diverge.regions import Regions
from refault.diverge.shadow_pages import notation_of, page_rows, page_text, pages_of, rows_hash
from refault.diverge.shadow_walk import leaf_gpa, shadow_walk
from refault.engines.shadow.eventlog import EventLog
from refault.replay import operations as op

CAPTURE = Path(__file__).resolve().parents[2] / "demo/traces/linux61-boot-1cpu.rft"


def variants(*names):
    return [resolve(patch_set_from_text(name)) for name in names]


@pytest.fixture(scope="module")
def position():
    with Position(Decoded(CAPTURE), variants("base", "rel35"), None) as at:
        at.advance(900_000)
        yield at


def test_the_rows_are_those_of_the_page_set(position):
    for host in position.hosts:
        rows = page_rows(pages_of(host), [host.variant])
        # The page set has roles as the release lays them out.
        columns = [0, 1, 2, 3, 4] if host.variant.base == "v2.6.34-pre" else [0, 2, 3, 4]
        wanted = sorted([row[i] for i in columns] for row in host.page_set())
        assert sorted(rows[:, columns].tolist()) == wanted


def test_the_digest_of_rows_knows_no_order_but_every_word():
    rows = np.arange(50, dtype=np.int64).reshape(10, 5)
    assert rows_hash(rows) == rows_hash(rows[::-1])
    assert rows_hash(rows) != rows_hash(rows[1:])
    for row, column in ((0, 0), (3, 4)):
        other = rows.copy()
        other[row, column] += 1
        assert rows_hash(rows) != rows_hash(other)
    assert rows_hash(np.repeat(rows, 2, axis=0)) != rows_hash(rows)


def test_pages_are_named_as_the_event_log_names_them(position):
    for host in position.hosts:
        log = EventLog([].append, host.variant.knobs)
        notation = notation_of([host.variant])
        for gfn, role, unsync, _, roots in page_rows(pages_of(host), [host.variant]).tolist():
            text = page_text(gfn, role, roots, unsync, notation)
            assert text == log._page(gfn, role, roots, unsync)


def test_two_bases_are_named_by_what_both_keep():
    assert page_text(0x10, 0x70014, 0, 1, notation_of(variants("base", "rel35"))) == (
        "sp gfn 10 1 q0 direct w-x !nxe root 0 unsync"
    )


def test_a_shadow_walk_that_ends_at_a_leaf_leads_where_the_guests_tables_lead(position):
    """At one moment of a sound variant, for addresses that are in use then."""
    found = 0
    notation = notation_of(variants("base", "rel35"))
    for _ in range(200):
        row = position.next_row()
        position.advance(1)
        if row.kind not in (op.LD, op.ST, op.EX):
            continue
        for host in position.hosts:
            walk = shadow_walk(host, row.vcpu, row.a, notation)
            gpa = leaf_gpa(walk, row.a)
            if gpa is not None and not any(entry.unsync for entry in walk):
                assert gpa == guest_walk(host, row.vcpu, row.a).gpa
                found += 1
    assert found > 100


def test_a_saved_pair_goes_on_as_the_one_it_was_saved_from():
    pair = variants("base", "p3")
    with Position(Decoded(CAPTURE), pair, None) as at:
        at.advance(1)
        part_end = at._count
        at.advance(part_end - at.row)
        saved = save(at.row, at.source, at.hosts)
        at.advance(50_000)
        wanted = [(host.counters(), host.notes.outcomes.hexdigest()) for host in at.hosts]
    for _ in range(2):
        with Position(Decoded(CAPTURE), pair, saved) as at:
            assert at.row == part_end
            at.advance(50_000)
            found = [(host.counters(), host.notes.outcomes.hexdigest()) for host in at.hosts]
        assert found == wanted


@pytest.mark.parametrize(
    ("address", "region"),
    [
        (0, "user"),
        (0x7FFF_FFFF_FFFF, "user"),
        (0xFFFF_8880_0000_0000, "direct map"),
        (0xFFFF_C900_0000_0000, "vmalloc"),
        (0xFFFF_EA00_0000_0000, "other"),
        (0xFFFF_FFFF_8100_0000, "kernel text"),
        (0xFFFF_FFFF_C000_0000, "other"),
    ],
)
def test_regions_are_linuxs(address, region):
    signed = address - (1 << 64) if address >> 63 else address
    regions = Regions("long")
    [number] = regions.numbers(np.array([op.LD]), np.array([signed]))
    assert regions.name(number) == region
    [nowhere] = regions.numbers(np.array([op.SET_CR3]), np.array([signed]))
    assert regions.name(nowhere) == "-"


def test_other_modes_have_two_halves():
    regions = Regions("pae")
    numbers = regions.numbers(np.array([op.LD, op.ST]), np.array([0x8000_0000, 0xC000_0000]))
    assert [regions.name(each) for each in numbers] == ["user half", "kernel half"]
