"""Patch sets: ordered lists of patches on a base."""
