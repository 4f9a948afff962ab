"""The embedded stack: Postgres, Valkey, the API and workers on loopback.

``python -m services.local demo`` shows the whole path on the demo traces,
``python -m services.local serve`` keeps the service up. Both keep everything
in one folder; see :class:`services.local.folder.DataFolder`.
"""
