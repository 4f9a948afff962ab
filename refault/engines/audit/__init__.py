"""Checks a host of the model against the specification's invariants while it runs."""
