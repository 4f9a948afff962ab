"""Errors of the embedded stack."""

from refault.errors import RefaultError


class StackError(RefaultError):
    """A part of the embedded stack failed; the message has its last log lines and the remedy."""
