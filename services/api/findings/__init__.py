"""Findings over the corpus of a project: of results and of audits, by kind and variant."""
