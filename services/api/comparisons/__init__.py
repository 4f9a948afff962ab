"""Comparisons: the results of a batch, in several formats."""
