"""The ``refault`` command; :mod:`refault.cli.main` is the entry point."""
