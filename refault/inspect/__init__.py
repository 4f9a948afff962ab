"""One variant's state at any operation of a trace, and how it came to be: ``refault inspect``.

::

    inspecting   what a caller asks: a place, an address or a table; answers a View
       │
    place        a host at an operation: taken up at a stored snapshot, run from there
    shelf        the snapshots, in a folder of the cache, bounded
    flushes      the operation that flushed each vCPU's TLB last
    changes      which operations changed some words of the host, found by running again
    history      these changes in words
       │
    state        what is there, as data (``--json``)
    text         the same in 72 columns

It only reads hosts; what it shows of them is read by the modules of :mod:`refault.diverge`.
"""
