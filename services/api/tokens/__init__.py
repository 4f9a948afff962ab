"""API tokens: created by logged-in users, shown once."""
