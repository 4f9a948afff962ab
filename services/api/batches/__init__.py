"""Batches: submitted, watched, cancelled."""
