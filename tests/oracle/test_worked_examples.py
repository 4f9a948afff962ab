"""The oracle against walks worked out by hand from the manuals' tables."""

import pytest

from tests.oracle import (
    AMD,
    INTEL,
    Access,
    Fault,
    Mode,
    Processor,
    Registers,
    Translation,
    load_pdptes,
    mode_of,
    reloads_pdptes,
    walk,
)

READ, WRITE, FETCH = (Access(kind, user=False) for kind in ("read", "write", "fetch"))
USER_READ, USER_WRITE, USER_FETCH = (Access(kind, user=True) for kind in ("read", "write", "fetch"))
# CR0 = PG NE ET MP PE, then with WP; EFER = LMA LME, then with NXE.
CR0, CR0_WP = 0x80000033, 0x80010033
LONG = Registers(CR0_WP, 0x1000, 0x20, 0xD00)
LONG_WITHOUT_NXE = LONG._replace(efer=0x500)
PAE = Registers(CR0_WP, 0, 0x20, 0x800, (0x2001, 0, 0x5001, 0))
BITS_32 = Registers(CR0_WP, 0x1000, 0x10, 0x800)
NO_PAGING = Registers(0x33, 0, 0, 0)


def memory(entries):
    """Entries by address, each as wide as it is read; everything else is zero."""

    def read(gpa, size):
        assert gpa % size == 0
        return entries.get(gpa, 0)

    return read


def long_tables(*, pml4e=0x2067, pdpte=0x3067, pde=0x4067, pte=0x1234067):
    """The tables of 0x8080604000 + 0x3008: index 1 at level 4, 2 at 3, 3 at 2, 7 at 1."""
    return memory({0x1008: pml4e, 0x2010: pdpte, 0x3018: pde, 0x4038: pte})


GVA = 1 << 39 | 2 << 30 | 3 << 21 | 7 << 12 | 0x8


def long(access, registers=LONG, processor=INTEL, **entries):
    return walk(long_tables(**entries), registers, GVA, access, processor)


@pytest.mark.parametrize(
    ("registers", "mode"),
    [
        (NO_PAGING, Mode.NO_PAGING),
        (NO_PAGING._replace(cr4=0x20, efer=0x100), Mode.NO_PAGING),  # LME alone is not LMA
        (BITS_32, Mode.BITS_32),
        (PAE, Mode.PAE),
        (LONG, Mode.LONG),
    ],
)
def test_pg_pae_and_lma_choose_the_mode(registers, mode):
    assert mode_of(registers) is mode


def test_without_paging_an_address_is_its_own_translation():
    assert walk(memory({}), NO_PAGING, 0xFFFF_F123, USER_WRITE) == Translation(0xFFFF_F123, (), ())


def test_four_levels_lead_to_a_4_kib_page():
    found = long(USER_WRITE)
    assert found.gpa == 0x1234008
    assert [entry.gpa for entry in found.entries] == [0x1008, 0x2010, 0x3018, 0x4038]
    assert found.marks == ()


def test_a_page_directory_entry_maps_2_mib():
    assert long(READ, pde=0x12200067 | 0x80).gpa == 0x12200000 | 7 << 12 | 8


def test_a_page_directory_pointer_entry_maps_1_gib():
    assert long(READ, pdpte=0x40000067 | 0x80).gpa == 0x40000000 | 3 << 21 | 7 << 12 | 8


def test_without_1_gib_pages_bit_7_of_a_pdpte_is_reserved():
    assert long(READ, processor=Processor(gigabyte_pages=False), pdpte=0x400000E7).code == 9


def test_the_pat_bit_of_a_pte_is_not_a_page_size():
    assert long(READ, pte=0x12340E7).gpa == 0x1234008


def test_the_pat_bit_of_a_large_page_is_bit_12_and_no_address_bit():
    assert long(READ, pde=0x122010E7).gpa == 0x12200000 | 7 << 12 | 8


def test_the_upper_half_of_a_canonical_space_has_indexes_256_to_511():
    tables = memory({0x1FF8: 0x2067, 0x2FF8: 0x3067, 0x3FF8: 0x4067, 0x4FF8: 0x5067})
    assert walk(tables, LONG, 0xFFFF_FFFF_FFFF_F000, READ).gpa == 0x5000


def test_an_address_that_is_not_canonical_is_not_for_the_walk():
    with pytest.raises(ValueError, match="not canonical"):
        walk(memory({}), LONG, 1 << 47, READ)
    with pytest.raises(ValueError, match="32 bits"):
        walk(memory({}), PAE, 1 << 32, READ)


@pytest.mark.parametrize("level", ["pml4e", "pdpte", "pde", "pte"])
def test_an_absent_entry_faults_with_p_clear_whatever_else_it_holds(level):
    everything_but_p = (1 << 64) - 2
    assert long(READ, **{level: everything_but_p}).code == 0
    assert long(USER_WRITE, **{level: 0}).code == 6
    assert long(USER_FETCH, **{level: 0}).code == 0x14
    assert long(USER_FETCH, LONG_WITHOUT_NXE, **{level: 0}).code == 4


@pytest.mark.parametrize(
    ("level", "value", "reserved"),
    [
        ("pml4e", 0x2067, [7, *range(40, 52)]),
        ("pdpte", 0x3067, range(40, 52)),
        ("pdpte", 0x400000E7, [*range(13, 30), *range(40, 52)]),
        ("pde", 0x4067, range(40, 52)),
        ("pde", 0x122000E7, [*range(13, 21), *range(40, 52)]),
        ("pte", 0x1234067, range(40, 52)),
    ],
)
def test_each_reserved_bit_of_4_level_paging(level, value, reserved):
    # Flags and the bits of the frame change what is reached, not whether the entry is legal;
    # bit 7 of the two middle levels changes what the rest of the entry means.
    harmless = {3, 4, 8, 9, 10, 11, *range(52, 64)} | ({12} if value & 0x80 else set())
    for bit in reserved:
        assert long(USER_WRITE, **{level: value | 1 << bit}).code == 0xF
    for bit in harmless:
        assert isinstance(long(USER_WRITE, **{level: value | 1 << bit}), Translation)
    assert long(USER_WRITE, LONG_WITHOUT_NXE, **{level: value | 1 << 63}).code == 0xF


def test_maxphyaddr_moves_the_reserved_bits():
    assert long(READ, pte=0x1234067 | 1 << 40, processor=Processor(physical_bits=41)).gpa == (
        0x1234008 | 1 << 40
    )
    assert long(READ, pte=0x1234067 | 1 << 36, processor=Processor(physical_bits=36)).code == 9


def test_amd_reserves_bit_8_where_an_upper_entry_references_a_table():
    assert long(READ, processor=AMD, pml4e=0x2167).code == 9
    assert long(READ, processor=AMD, pdpte=0x3167).code == 9
    assert long(READ, processor=AMD, pdpte=0x400001E7).gpa == 0x40000000 | 3 << 21 | 7 << 12 | 8
    assert long(READ, processor=AMD, pde=0x4167).gpa == 0x1234008
    assert long(READ, processor=INTEL, pml4e=0x2167, pdpte=0x3167).gpa == 0x1234008


@pytest.mark.parametrize(
    ("entry", "access", "wp", "code"),
    [
        # entry flags: 0x61 = D A P, 2 = R/W, 4 = U/S
        (0x61, READ, True, None),
        (0x61, USER_READ, True, 5),
        (0x61, USER_FETCH, True, 0x15),
        (0x65, USER_READ, True, None),
        (0x65, USER_WRITE, True, 7),
        (0x65, USER_WRITE, False, 7),  # CR0.WP is about supervisors
        (0x65, WRITE, True, 3),
        (0x65, WRITE, False, None),
        (0x63, WRITE, True, None),
        (0x63, USER_WRITE, True, 7),
        (0x67, USER_WRITE, True, None),
        (0x67, USER_FETCH, True, None),
        (0x67 | 1 << 63, USER_FETCH, True, 0x15),
        (0x67 | 1 << 63, FETCH, True, 0x11),
        (0x67 | 1 << 63, USER_READ, True, None),
    ],
)
@pytest.mark.parametrize("level", ["pml4e", "pdpte", "pde", "pte"])
def test_every_level_must_consent(level, entry, access, wp, code):
    frame = {"pml4e": 0x2000, "pdpte": 0x3000, "pde": 0x4000, "pte": 0x1234000}[level]
    registers = LONG if wp else LONG._replace(cr0=CR0)
    outcome = long(access, registers, **{level: frame | entry})
    if code is None:
        assert outcome.gpa == 0x1234008
    else:
        assert outcome.code == code


def test_an_upper_entry_that_denies_does_not_hide_an_absent_or_reserved_lower_one():
    assert long(USER_WRITE, pml4e=0x2065, pte=0).code == 6
    assert long(USER_WRITE, pdpte=0x3063, pte=0x1234067 | 1 << 45).code == 0xF


def test_an_upper_reserved_bit_hides_everything_below():
    assert long(READ, pml4e=0x20E7, pte=0).code == 9


def test_accessed_is_set_wherever_the_walk_went_and_dirty_in_the_last_entry_of_a_write():
    clean = {"pml4e": 0x2007, "pdpte": 0x3007, "pde": 0x4007, "pte": 0x1234007}
    assert long(READ, **clean).marks == (
        (0x1008, 0x20),
        (0x2010, 0x20),
        (0x3018, 0x20),
        (0x4038, 0x20),
    )
    assert long(WRITE, **clean).marks[-1] == (0x4038, 0x60)
    assert long(WRITE, pte=0x1234027).marks == ((0x4038, 0x40),)
    assert long(WRITE, pde=0x12200087).marks == ((0x3018, 0x60),)


def test_pae_starts_at_a_register_and_has_no_rights_there():
    tables = memory({0x2018: 0x3067, 0x3038: 0x1234067, 0x5018: 0x122000E7})
    gva = 3 << 21 | 7 << 12 | 8
    assert walk(tables, PAE, gva, USER_WRITE).gpa == 0x1234008
    assert walk(tables, PAE, 1 << 30 | gva, USER_WRITE) == Fault(6, ())
    assert walk(tables, PAE, 2 << 30 | gva, USER_WRITE).gpa == 0x12200000 | 7 << 12 | 8


@pytest.mark.parametrize(
    ("pde", "pte", "reserved"),
    [
        (0x3067, None, range(40, 63)),
        (0x122000E7, None, [*range(13, 21), *range(40, 63)]),
        (0x3067, 0x1234067, range(40, 63)),
    ],
)
def test_each_reserved_bit_of_pae_paging(pde, pte, reserved):
    gva = 3 << 21 | 7 << 12 | 8
    for bit in reserved:
        upper = pde if pte else pde | 1 << bit
        tables = memory({0x2018: upper, 0x3038: (pte or 0x1234067) | (bool(pte) << bit)})
        assert walk(tables, PAE, gva, READ).code == 9
    tables = memory({0x2018: pde | (not pte) << 63, 0x3038: (pte or 0x1234067) | bool(pte) << 63})
    assert walk(tables, PAE, gva, FETCH).code == 0x11
    assert walk(tables, PAE._replace(efer=0), gva, FETCH).code == 9
    assert isinstance(walk(tables, PAE, gva, READ), Translation)


def test_pdptes_are_loaded_whole_or_not_at_all():
    table = {0x1020: 0x2001, 0x1028: 0, 0x1030: 0x5001, 0x1038: 0x19}
    assert load_pdptes(memory(table), 0x103F) == (0x2001, 0, 0x5001, 0x19)
    for bit in (1, 2, 5, 6, 7, 8, *range(40, 64)):
        assert load_pdptes(memory(table | {0x1030: 0x5001 | 1 << bit}), 0x1020) is None
        assert load_pdptes(memory(table | {0x1030: 0x5000 | 1 << bit}), 0x1020) is not None
    for bit in (3, 4, 9, 10, 11):
        assert load_pdptes(memory(table | {0x1030: 0x5001 | 1 << bit}), 0x1020) is not None


def test_pdptes_stay_cached_until_a_register_that_matters_changes():
    changed = {"cr0": [1 << 29, 1 << 30, 1 << 31], "cr4": [1 << 4, 1 << 5, 1 << 7]}
    for name, flags in changed.items():
        for flag in flags:
            old = PAE._replace(**{name: getattr(PAE, name) ^ flag})
            assert reloads_pdptes(old, PAE)
    assert not reloads_pdptes(PAE, PAE._replace(cr0=CR0))
    assert not reloads_pdptes(PAE, PAE._replace(cr4=0x220))
    assert not reloads_pdptes(PAE, NO_PAGING)
    assert not reloads_pdptes(LONG._replace(cr4=0xA0), LONG)


def test_32_bit_paging_has_four_byte_entries_and_no_execute_bit():
    tables = memory({0x1C04: 0x2067, 0x2FFC: 0xFFFFF065})
    gva = 769 << 22 | 1023 << 12 | 0x123
    assert walk(tables, BITS_32, gva, USER_READ).gpa == 0xFFFFF123
    assert walk(tables, BITS_32, gva, USER_FETCH).gpa == 0xFFFFF123
    assert walk(tables, BITS_32, gva, USER_WRITE).code == 7
    assert walk(memory({}), BITS_32, gva, USER_FETCH).code == 4


def test_a_4_mib_page_has_address_bits_32_to_39_in_bits_13_to_20():
    tables = memory({0x1004: 0xABC000E7 | 0x5A << 13})
    gva = 1 << 22 | 0x3F_F123
    assert walk(tables, BITS_32, gva, READ).gpa == 0x5A_ABFF_F123
    assert walk(memory({0x1004: 0xABC000E7 | 1 << 21}), BITS_32, gva, READ).code == 9
    assert walk(memory({0x1004: 0xABC010E7}), BITS_32, gva, READ).gpa == 0xABFF_F123


@pytest.mark.parametrize(
    ("physical_bits", "address_bits"), [(32, []), (36, range(13, 17)), (52, range(13, 21))]
)
def test_the_width_of_pse_36_follows_maxphyaddr_up_to_40(physical_bits, address_bits):
    for bit in range(13, 22):
        outcome = walk(
            memory({0x1004: 0xABC000E7 | 1 << bit}),
            BITS_32,
            1 << 22,
            READ,
            Processor(physical_bits=physical_bits),
        )
        if bit in address_bits:
            assert outcome.gpa == 0xABC00000 | 1 << (bit + 19)
        else:
            assert outcome.code == 9


def test_with_pse_off_bit_7_of_a_directory_entry_means_nothing():
    tables = memory({0x1004: 0x20E7, 0x2004: 0x7067})
    gva = 1 << 22 | 1 << 12
    assert walk(tables, BITS_32._replace(cr4=0), gva, READ).gpa == 0x7000
    # With PSE on it is a 4 MiB page, and bit 13 is address bit 32.
    assert walk(tables, BITS_32, gva, READ).gpa == 0x1_0000_1000


def test_an_instruction_fetch_is_told_only_where_execution_can_be_forbidden():
    absent = memory({})
    assert walk(absent, LONG, 0, FETCH).code == 0x10
    assert walk(absent, LONG_WITHOUT_NXE, 0, FETCH).code == 0
    assert walk(absent, PAE._replace(pdptes=(0, 0, 0, 0)), 0, FETCH).code == 0x10
    assert walk(absent, PAE._replace(pdptes=(0, 0, 0, 0), efer=0), 0, FETCH).code == 0
    assert walk(absent, BITS_32, 0, FETCH).code == 0
