"""Runs: one trace under one variant, with its result."""
