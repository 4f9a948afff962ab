"""What a page tells the API that it calls in its own process."""

ADMITTED = "refault.admitted"
"""Key of an ASGI scope: who was admitted for the page that is being made, by secret.

A scope is no part of a request: only a program that calls the API in its own process can set it.
"""
