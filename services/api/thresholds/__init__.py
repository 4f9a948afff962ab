"""Thresholds: how much a counter may worsen in a project."""
