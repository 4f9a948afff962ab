"""A guest that lost a register write is none that a processor runs."""

import numpy as np
import pytest

from refault.shrink.journal import Journal
from refault.shrink.program import Program
from refault.shrink.registers import Registers, are_lawful
from refault.shrink.trials import Trials
from refault.trace.format import EventKind as K
from tests.shrink import guests
from tests.shrink.test_shrinking import block_of, variant, wanted_of

PG, PE, PAE, LME = 1 << 31, 1, 0x20, 0x100


@pytest.mark.parametrize(
    ("registers", "can_be"),
    [
        ((0, 0, 0), True),
        ((PG | PE, 0, 0), True),
        ((PG, 0, 0), False),
        ((PG | PE, PAE, 0), True),
        ((PG | PE, PAE, LME), True),
        ((PG | PE, 0, LME), False),
        ((PE, 0, LME), True),
    ],
)
def test_which_registers_can_be_together(registers, can_be):
    assert Registers(*registers).can_be is can_be


def test_long_mode_is_neither_entered_nor_left_while_paging():
    pae = Registers(PG | PE, PAE, 0)
    assert not pae.may_become(pae._replace(efer=LME))
    assert not pae._replace(efer=LME).may_become(pae)
    assert pae.may_become(pae._replace(efer=0x800))
    assert pae._replace(cr0=PE).may_become(pae._replace(cr0=PE, efer=LME))


def long_mode():
    """A guest of long mode: registers, then tables, then an access."""
    return [
        (K.MSR, 0, guests.INIT, 0, guests.EFER, 0xD01),
        (K.CR, 0, guests.INIT, 4, 0x20, 0),
        (K.CR, 0, guests.INIT, 0, 0x80050033, 0),
        (K.TABLE_SNAPSHOT, 0, guests.INIT, 4, 0x1000, 1),
        (K.TABLE_ENTRY, 0, guests.INIT, 0, 0x1000, 0x2067),
        (K.TABLE_SNAPSHOT, 0, guests.INIT, 3, 0x2000, 1),
        (K.TABLE_ENTRY, 0, guests.INIT, 0, 0x2000, 0x3067),
        (K.TABLE_SNAPSHOT, 0, guests.INIT, 2, 0x3000, 1),
        (K.TABLE_ENTRY, 0, guests.INIT, 0, 0x3000, 0xE7),
        (K.CR, 0, guests.INIT, 3, 0x1000, 0),
        (K.ACCESS, 0, guests.USER, 1, 0x5000, 0x5000),
    ]


@pytest.mark.parametrize(
    ("mode", "rows"),
    [
        ("long", long_mode()),
        ("pae", guests.registers_first(guests.pae())),
        ("32bit", guests.legacy()),
    ],
)
def test_a_candidate_without_the_cr4_of_long_mode_is_illegal(tmp_path, mode, rows):
    header, block = block_of(guests.write(tmp_path / "guest.rft", mode, rows))
    program = Program(header, block)
    keep = wanted_of("finding:wrong-address@base", variant)
    trials = Trials(keep, Journal(None, {}))
    assert not trials.lowered(header, block).is_illegal
    for at in np.flatnonzero((block.kind == K.CR) & (block.flags == guests.INIT)).tolist():
        kept = np.ones(block.event_count, bool)
        kept[at] = False
        lowered = trials.lowered(header, program.taken(program.lawful(kept)))
        needs_it = mode == "long" and block.aux[at] == 4
        assert lowered.is_illegal == needs_it == (not are_lawful(lowered.rows))
