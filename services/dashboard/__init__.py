"""The web pages, rendered on the server from what the public API shows."""
