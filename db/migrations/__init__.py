"""Alembic migrations; see ``python -m db``."""
