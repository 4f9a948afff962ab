"""Traces: uploaded, listed, inspected."""
