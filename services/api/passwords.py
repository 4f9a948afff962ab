"""Passwords of local accounts: argon2id, with a bound on concurrent hashes."""

import secrets
import threading

import argon2

from refault.errors import InvalidRequest

LENGTH_MIN = 12
LENGTH_MAX = 200
# OWASP's parameters for argon2id; each hash takes this much memory, so few run at once.
_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
AT_ONCE = 2
_TURN = threading.Semaphore(AT_ONCE)
# Checked for unknown accounts, so that they take as long as known ones.
_NOBODY = _HASHER.hash(secrets.token_urlsafe(32))


def hashed(password: str) -> str:
    """The hash of a password; raises ``InvalidRequest`` for one that is too short."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise InvalidRequest(f"password: {LENGTH_MIN} to {LENGTH_MAX} characters")
    with _TURN:
        return _HASHER.hash(password)


def is_right(password: str, kept: str | None) -> bool:
    """Whether a password matches the hash; takes as long without a hash."""
    try:
        with _TURN:
            _HASHER.verify(kept or _NOBODY, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return kept is not None


def generated() -> str:
    """A generated password."""
    return secrets.token_urlsafe(18)
