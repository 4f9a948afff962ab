# Generated from refault/client/asynchronous/__init__.py by `make client`: change it there.
"""What :mod:`refault.client.asynchronous` does, one call at a time."""
