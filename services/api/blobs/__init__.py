"""Blobs: trace files by their sha256."""
