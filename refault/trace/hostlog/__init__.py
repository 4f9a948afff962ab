"""Logs that a host's kernel wrote of its own KVM: tracepoints as events, counters as numbers.

::

    trace.dat 6 and 7 ── tracedat/ ──┐
                                     ├──► HostEvent, one at a time ──► vCPUs joined ──► reader
    texts, mails ─────── lines, text ┘

Every reader yields the same :class:`HostEvent`, in bounded memory.
"""
