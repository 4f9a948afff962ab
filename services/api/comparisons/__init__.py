"""Comparisons: what a batch came to, in several forms."""
