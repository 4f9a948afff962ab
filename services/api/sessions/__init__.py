"""Logins, and what a caller is."""
