"""A Linux kernel's own MMU code, built from the user's tree and run as a child process.

The tree's ``arch/x86/kvm/mmu`` and what it leans on are compiled by :mod:`refault.linux`; here the
program is run. Rows go to it and outcomes come back a block at a time; what an outcome means is
decided on this side, and nothing that the program writes is believed.

=======  ===============================================================
channel  the memory shared with the program, one table
rows     into it: the rows of a block
process  the program, running behind walls
judge    from outcomes to the records every engine keeps
host     one run, as :class:`refault.engines.base.Host`
=======  ===============================================================

Counters are those of the tree's own statistics tables, under its names.
"""

from __future__ import annotations

from refault.engines.base import Engine, what_no_engine_can

ENGINE = Engine(
    name="kernel",
    title="the MMU code of a Linux tree of your own",
    package=__name__,
    counters=(),
    # Five levels of tables are in every tree that is built.
    refuses=what_no_engine_can,
    # A process is no array.
    resumes=False,
)
