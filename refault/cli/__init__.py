"""The ``refault`` command; :mod:`refault.cli.main` is its door."""
