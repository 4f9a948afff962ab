"""Where two variants of one trace differ: the first operation, and both MMUs around it.

::

    diverging   what a caller asks: the divergences of two variants on one trace
       │
    search      the coarse pass: both hosts run, their readings are compared part by part
    position    two hosts at a row of the trace; saved, restored, advanced row by row
    measures    what is compared: outcomes, shadow pages, a total; counters: after every row
    accounts    of a counter: the curve of the difference, and the operations that carry it
       │
    around      both states around one operation: guest_walk, shadow_walk, pages
    text        all of it in 72 columns

It only reads hosts, at one point in time, and so has no kernels of its own.
"""
