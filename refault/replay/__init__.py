"""What every engine shares, and the session that drives them.

A capture becomes operations once (:mod:`~refault.replay.lowering`), each engine's host executes the
same rows in a lane of its own (:mod:`~refault.replay.lanes`), and outcomes are recorded in one form
(:mod:`~refault.replay.records`, :mod:`~refault.replay.notes`). The entry point is
:mod:`refault.replay.session`.
"""
