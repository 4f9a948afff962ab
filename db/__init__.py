"""The database: models, every query, and the only commit.

Rows are the source of truth; messages (:mod:`db.shards.messages`) only wake a
worker to look at them. Other packages open a transaction with
:func:`db.session.transaction` and call the functions of
:mod:`db.repositories`; nothing outside this package writes SQL.
"""
