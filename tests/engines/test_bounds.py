"""Every loop of a kernel ends: by its bound, where the real kernel stops, or when it is told to."""

import ast
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from refault import engines
from refault import replay as replay_package
from refault.catalogue import PatchSet, resolve, variant_from_golden_name
from refault.engines.shadow.state import words
from refault.errors import ReplayCancelled
from refault.replay.compile.jit import INTERPRETED
from refault.replay.lowering.rows import operations_of
from refault.replay.session import replay
from refault.trace import EventKind
from tests.engines.bounded_work import excess_of
from tests.engines.guests import PS, A, D, Guest, P, U, W
from tests.engines.hosts import Host
from tests.engines.test_extremes import host_after
from tests.patience import PATIENCE_SECONDS

BASE = resolve(PatchSet())
BASES = ["base", "apr", "rel35"]
KERNELS = [Path(package.__file__).parent for package in (engines, replay_package)]
AGE, UNMAP, CHANGE = EventKind.OP_AGE, EventKind.OP_UNMAP, EventKind.OP_CHANGE_PTE


# --- A reverse map that lists an absent leaf (6d74229f013) ------------------------------------


def guest_with_an_absent_leaf_listed(bypass):
    """A 2 MiB leaf is there; a store through another link to it shadows a table inside those 2 MiB.

    So the leaf is made absent while it is installed once more, and stays in the reverse map.
    """
    guest = Guest(pages=4096, bypass=bypass, host_level=2)
    guest.poke(0x1000, 600 << 12 | P | W | U).poke(0x1008, 2 << 12 | P | W | U | A)
    guest.poke(0x2000, 3 << 12 | P | W | U | A).poke(600 << 12, 3 << 12 | P | W | U | A)
    guest.poke(0x3000, 512 << 12 | P | W | U | A | PS)
    guest.poke(0x1010, 700 << 12 | P | W | U).poke(700 << 12, 3 << 12 | P | W | U | A)
    return guest.boot(0x1000).load(1 << 39 | 8).store(8, 7)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(
    ("kind", "value", "without_bypass", "with_bypass"),
    [
        (UNMAP, 0, "assertion", "endless-loop"),
        (AGE, 0, "assertion", None),  # the entry has P, and no A
        (CHANGE, 1, "assertion", "assertion"),
        (CHANGE, 0, "assertion", "assertion"),
    ],
)
def test_a_notifier_that_meets_an_absent_leaf_stops_where_the_real_kernel_stops_or_spins(
    base, kind, value, without_bypass, with_bypass
):
    for bypass, want in enumerate((without_bypass, with_bypass)):
        guest = guest_with_an_absent_leaf_listed(bypass)
        before = len(guest.rows) - 1  # OP_BOOT_CR is no operation
        host = host_after(guest.add(kind, a=512, b=value), variant_from_golden_name(base))
        assert (host.notes.findings.stopped and host.notes.findings.stopped.kind) == want
        assert host.operation_count == before + (want is None)
        if want is not None:
            assert "reverse map lists a leaf that is absent" in host.notes.findings.stopped.message


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("bypass", [0, 1])
def test_guarding_a_table_stops_at_an_absent_leaf_in_the_large_list(base, bypass):
    guest = guest_with_an_absent_leaf_listed(bypass)
    guest.load(2 << 39)  # table 700 lies in the same 2 MiB
    assert (
        host_after(guest, variant_from_golden_name(base)).notes.findings.stopped.kind == "assertion"
    )


# --- Bounds -----------------------------------------------------------------------------------


def loops_of_kernels():
    """``(file, line, text)`` of every while in a function that is compiled."""
    for path in sorted(path for folder in KERNELS for path in folder.rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        for function in ast.walk(ast.parse("\n".join(lines))):
            if not isinstance(function, ast.FunctionDef):
                continue
            names = {node.id for node in function.decorator_list if isinstance(node, ast.Name)}
            if names & {"kernel", "inlined", "door"}:
                for node in ast.walk(function):
                    if isinstance(node, ast.While):
                        yield path.name, node.lineno, lines[node.lineno - 1]


def test_every_loop_of_a_kernel_takes_steps_or_has_its_bound_beside_it():
    loops = list(loops_of_kernels())
    assert len(loops) > 30
    bounded = ("goes_on(m, ", "has_steps(a, ", "  # ")
    assert [loop for loop in loops if not any(word in loop[2] for word in bounded)] == []


@pytest.mark.skipif(INTERPRETED, reason="takes a thousand million steps")
def test_a_list_that_leads_back_into_itself_ends_as_an_endless_loop():
    guest = Guest(pages=1024)
    for table in (1, 2, 3):
        guest.table(table, {0: (table + 1) << 12 | P | W | U})
    guest.boot(0x1000).load(0).add(EventKind.OP_DIRTYLOG)
    host = Host(BASE, guest.header())
    for ops, count, _ in operations_of(guest.header(), iter([guest.block()]), {}):
        host._run(ops, 0, count - 1)
        m = host.machine
        m.page[m.vm[words.LIST_TAIL] + words.LIST_NEXT] = m.vm[words.LIST_HEAD]
        host.execute(ops, count)
    assert host.notes.findings.stopped.kind == "endless-loop"


@pytest.mark.parametrize("seed", range(0, 90, 2))
def test_no_operation_takes_more_steps_than_its_host_is_large(seed):
    assert excess_of(seed) is None


# --- Told to end ------------------------------------------------------------------------------


def guest_of_many_marks(links):
    """Marking the ancestors of its last table goes up as many paths as three levels have links."""
    guest = Guest(pages=1024)
    for table in (1, 2, 3):
        entries = dict.fromkeys(range(links), (table + 1) << 12 | P | W | U | A)
        guest.table(table, entries)
    guest.table(4, {0: 5 << 12 | P | U, 1: 4 << 12 | P | W | U | A | D}).boot(0x1000)
    for shift in (39, 30, 21):
        for i in range(links):
            guest.load(i << shift)
    return guest.load(0x1000)


def guest_of_long_operations():
    """One part of rows, the most of which look at 262,144 entries each."""
    guest = Guest(pages=4096).table(1, {0: 2 << 12 | P | W | U}).table(2, {0: 3 << 12 | P | W | U})
    guest.table(3, {i: (1024 + i) << 12 | P | W | U for i in range(512)})
    for i in range(512):
        guest.poke((1024 + i) << 12, 100 << 12 | P | W | U)
    guest.add(EventKind.OP_NR_PAGES, a=1000).boot(0x1000)
    for i in range(512):
        guest.load(i << 21)
    for _ in range(25_000):
        guest.add(EventKind.OP_DIRTYLOG)
    return guest


def test_a_host_that_is_aborted_gives_up_between_two_steps():
    guest = guest_of_long_operations()
    host = Host(BASE, guest.header())
    parts = list(operations_of(guest.header(), iter([guest.block()]), {}))
    assert len(parts) == 1
    raised = []

    def execute():
        try:
            host.execute(*parts[0][:2])
        except ReplayCancelled as error:
            raised.append(error)

    thread = threading.Thread(target=execute)
    thread.start()
    while not host.machine.vm[words.FLUSH_CALLS]:
        thread.join(0.001)
    host.abort()
    thread.join()
    assert len(raised) == 1
    assert host.operation_count < 25_000


def test_a_replay_asks_whether_it_is_cancelled_while_one_part_lasts():
    guest = guest_of_long_operations()
    asked = []

    def is_cancelled():
        asked.append(1)
        return len(asked) == 4  # all rows are one part, for which it is asked once

    with pytest.raises(ReplayCancelled, match="cancelled after event"):
        replay(guest.trace(), [BASE], is_cancelled=is_cancelled)
    assert len(asked) == 4


SCRIPT = """
import sys
from refault.replay.session import replay, warm_up
from refault.catalogue import PatchSet, resolve
from tests.engines.test_bounds import guest_of_many_marks
warm_up()
trace = guest_of_many_marks(200).trace()
print("begun", flush=True)
replay(trace, [resolve(PatchSet())])
print("ended", flush=True)
"""


@pytest.mark.parametrize("interpreted", ["", "1"])
def test_ctrl_c_ends_a_replay_inside_an_operation(interpreted, tmp_path):
    """Interpreted, its one operation of eight million marks takes minutes."""
    trace = tmp_path / "long.rft"
    guest = guest_of_many_marks(200)
    for _ in range(32_000):
        guest.add(EventKind.OP_DIRTYLOG)
    trace.write_bytes(guest.bytes())
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "REFAULT_INTERPRETED": interpreted},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=PATIENCE_SECONDS)
    finally:
        child.kill()
    assert "KeyboardInterrupt" in err
    assert "ended" not in out
