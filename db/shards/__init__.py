"""The queue of record: shards, from the plan that cuts them to the record that ends them.

::

    planning ── cutting ──► claiming ── leases ──► recording
       │                       ▲          │
    estimating              endings ◄─────┴── sweeping
                            reopening, cancelling

What states a shard has, and by which steps it comes from one to the next, is one table:
:mod:`db.shards.states`. Everybody locks the batch before its shards (:mod:`db.shards.fences`).
"""
