"""``make faults``, a part of it: does any operation take more steps than its host is large?

``python -m tests.engines.bounded_work MINUTES SEED`` replays random and hostile guests operation by
operation, and holds the steps each took (``refault/engines/shadow/state/steps.py``) against a bound
worked out of the shadow pages and nodes there are. Exit code 1 names the first guest that exceeds
it.
"""

import sys
import time

from refault.engines.shadow.state import words
from refault.errors import RefaultError
from refault.replay import x86
from refault.replay.lowering.rows import operations_of
from refault.replay.session import warm_up
from tests.engines.hosts import Host
from tests.engines.traffic import VARIANTS, guest_of

NEVER = -1 << 62


def steps_allowed(pages, nodes):
    """Every entry of each page twice, every node once for each exit of an access, and small change.

    One walk up the ancestors of a page may take MARKS_MAX steps, which no small guest reaches.
    """
    return 2 * x86.ENTRIES * (pages + 4) + words.EXITS_MAX * (pages + nodes)


def excess_of(seed):
    """The first operation of a guest that takes more steps than allowed, or None."""
    guest, variant = guest_of(seed), VARIANTS[seed % len(VARIANTS)]
    host = Host(variant, guest.header())
    try:
        if guest.header().content == "capture":
            host.begin()
        for ops, count, _ in operations_of(guest.header(), iter([guest.block()]), {}):
            for row in range(count):
                steps, allowed = _steps_of(host, ops, row)
                if steps > allowed:
                    return f"operation {host.operation_count}: {steps} steps, {allowed} allowed"
                if host.stopped:
                    return _stop_of(host)
    except RefaultError:
        pass  # a host refuses some of the hostile ones
    return None


def _steps_of(host, ops, row):
    """Steps taken by a row, and steps it may take; a row on the short way takes none."""
    host.machine.vm[words.STEPS_LEFT] = NEVER
    before = int(host.machine.vm[words.ACTIVE])
    host._run(ops, row, row + 1)
    vm = host.machine.vm
    left = int(vm[words.STEPS_LEFT])
    nodes = len(host.machine.link) // words.LINK_WORDS - int(vm[words.LINK_FREE_COUNT])
    allowed = steps_allowed(max(before, int(vm[words.ACTIVE])), nodes)
    if left == NEVER:
        return 0, allowed
    return words.STEPS_PER_OPERATION + words.STEPS_PER_PAGE * before - left, allowed


def _stop_of(host):
    """A loop broken off at its bound is an excess too, unless the real kernel spins there."""
    stopped = host.notes.findings.stopped
    is_known = int(host.machine.vm[words.BUG]) != words.BUG_ENDLESS_LOOP
    return None if is_known else f"operation {stopped.operation_index}: {stopped.message}"


def main(minutes, seed):
    warm_up()
    end = time.monotonic() + 60 * minutes
    first = seed
    while time.monotonic() < end:
        excess = excess_of(seed)
        if excess:
            sys.stdout.write(f"guest {seed}, {excess}\n")
            return 1
        seed += 1
    sys.stdout.write(f"guests {first} to {seed - 1}: no operation takes more steps than allowed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
