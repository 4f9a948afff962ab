"""API tokens: minted by who is logged in, shown once."""
