"""Shared by API and worker; the worker imports nothing else of ``services``."""
