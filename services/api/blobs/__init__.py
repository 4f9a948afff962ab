"""Blobs: whether the service has some bytes already."""
