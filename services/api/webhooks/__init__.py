"""Webhooks: addresses that get a message when a batch ends."""
