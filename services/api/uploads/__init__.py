"""Uploads in several requests, by the protocol tus 1.0."""
