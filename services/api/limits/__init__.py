"""Limits: how long a shard of a project may take."""
