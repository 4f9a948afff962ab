"""Webhooks: who is told when a batch ends."""
