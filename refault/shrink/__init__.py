"""Takes a trace apart until only what shows one defect is left.

::

    trace ──► wanted ──► the first place where it shows ──► a trace that begins shortly before it
                                                                  │ (rerooting)
              ┌──────────── events removed in ever smaller groups ◄┘
              │ (reducing)
              ▼  each candidate is judged (trials): is the guest legal, does it still show,
              │  and is the reference free of it?
           a trace that shows it in a few dozen events, and its operations as a test (vector)

The entry point is :func:`refault.shrink.shrinking.shrink`.
"""
