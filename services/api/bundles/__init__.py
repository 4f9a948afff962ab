"""Comparisons of other services, imported as bundles."""
