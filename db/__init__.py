"""The database room: what is stored, every query, and the only commit.

Rows are the truth of the service; messages (:mod:`db.shards.messages`) only nudge a
worker to look at them. Other rooms open a transaction with
:func:`db.session.transaction` and call the functions of
:mod:`db.repositories`; nothing outside this package writes SQL.
"""
