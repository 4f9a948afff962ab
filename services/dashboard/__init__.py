"""The web pages, rendered on the server from the public API."""
