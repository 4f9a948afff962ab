"""Logins, and the caller's identity."""
