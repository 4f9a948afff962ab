import io
import os
import subprocess
import sys

import numpy as np
import pytest

from refault.catalogue import PatchSet, resolve
from refault.engines.shadow.eventlog import EventLog
from refault.engines.shadow.kvm import tracepoints
from refault.engines.shadow.state import machine, words
from refault.replay.compile.jit import door
from refault.replay.session import replay
from tests.engines.event_cases import BASE, CASES, lines_since, log, long_guest, operation_count
from tests.engines.guests import Guest, P, U, W
from tests.engines.traffic import random_guest

emit = door(tracepoints.emit.py_func)


@pytest.mark.parametrize("name", CASES)
def test_each_operation_leaves_exactly_these_events(name):
    before, what, patch_set, expected = CASES[name]
    guest = before()
    count = operation_count(guest)
    assert lines_since(what(guest), patch_set, count) == expected


def test_interpreted_kernels_leave_the_same_log():
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.event_cases"],
        env={**os.environ, "REFAULT_INTERPRETED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [
        f"{name}\n{log(CASES[name][1](CASES[name][0]()), CASES[name][2])}" for name in sorted(CASES)
    ]
    assert done.stdout == "".join(expected)


def test_the_log_has_the_form_of_the_kernel_s_trace_file():
    text = log(long_guest(vcpus=2).load(0).load(0, vcpu=1))
    lines = text.splitlines()
    assert lines[:4] == [
        "# tracer: nop",
        "#",
        "#           TASK-PID    CPU#    TIMESTAMP  FUNCTION",
        "#              | |       |          |         |",
    ]
    assert lines[4] == (
        "           <...>-0     [000]     0.000009: kvm_mmu_get_page: "
        "sp gfn 1 4/4 q0 wux !pge !nxe root 0 sync new"
    )
    assert lines[-1] == (
        "           <...>-0     [001]     0.000010: kvm_mmu_get_page: "
        "sp gfn 1 4/4 q0 wux !pge !nxe root 1 sync existing"
    )


def test_a_log_emptied_many_times_within_a_block_is_whole():
    guest = Guest(pages=4096)
    guest.table(1, {0: 2 << 12 | P | W | U}).table(2, {0: 3 << 12 | P | W | U})
    guest.table(3, {i: (8 + i) << 12 | P | W | U for i in range(8)})
    for i in range(8):
        guest.table(8 + i, {j: (512 * i + j & 0xFFF) << 12 | P | W | U for j in range(64, 512)})
    guest.boot(0x1000)
    pages = [i << 21 | j << 12 for i in range(8) for j in range(64, 512)]
    for gva in pages:
        guest.load(gva)
    text = log(guest)
    faults = [line.split()[5] for line in text.splitlines() if "kvm_page_fault:" in line]
    assert [int(gva, 16) for gva in faults] == pages
    assert len(text.splitlines()) * words.EVENT_WORDS > 2 * len(_with_events().vm)
    assert "LOST" not in text


@pytest.mark.parametrize("seed", range(8))
def test_reading_along_changes_no_result(seed):
    variant = resolve(PatchSet())
    guest = random_guest(seed)
    plain = replay(guest.trace(), [variant])[0]
    assert replay(guest.trace(), [variant], events=io.StringIO().write)[0] == plain


def test_only_the_first_variant_is_logged():
    written = []
    variants = [resolve(PatchSet()), resolve(PatchSet(base="v2.6.35.6"))]
    replay(long_guest().load(0).trace(), variants, events=written.append)
    assert "".join(written) == log(long_guest().load(0), BASE)


def _with_events():
    return machine.create(resolve(PatchSet()).knobs, bypass=0, interpreted=False, with_events=True)


def test_what_finds_no_room_is_counted_and_said_as_the_kernel_says_it():
    m = _with_events()
    rows = (len(m.vm) - words.VM_WORDS) // words.EVENT_WORDS
    for i in range(rows + 7):
        emit(m, tracepoints.SET_DIRTY_BIT, i << 3, 0, 0, 0, 0)
    written = []
    EventLog(written.append, resolve(PatchSet()).knobs).take(m, is_over=lambda: False)
    assert "".join(written[1:-1]).count("\n") == rows
    assert written[-2].endswith(f"kvm_mmu_set_dirty_bit: gpa {rows - 1 << 3:x}\n")
    assert written[-1] == "CPU:0 [LOST 7 EVENTS]\n"
    assert (m.vm[words.EVENT_NEXT], m.vm[words.EVENTS_LOST]) == (words.VM_WORDS, 0)


def test_a_host_nobody_reads_along_with_has_no_room_for_events():
    m = machine.create(resolve(PatchSet()).knobs, bypass=0, interpreted=False)
    emit(m, tracepoints.SET_DIRTY_BIT, 1, 0, 0, 0, 0)
    assert len(m.vm) == words.VM_WORDS
    assert np.count_nonzero(m.vm[words.EVENT_END : words.EVENT_STAMP + 1]) == 0
