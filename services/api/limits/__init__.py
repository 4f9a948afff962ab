"""Limits: the time limit of a project's shards."""
