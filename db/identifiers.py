"""Generated names: time-ordered row ids and the short codes users type.

A UUIDv7 carries its creation time in front, so that rows arrive in index order
(RFC 9562, section 5.7)::

     48 bits           4    12 bits        2     62 bits
    +-----------------+----+--------------+----+----------------+
    | Unix time in ms |  7 | microseconds | 10 | random         |
    |                 |    | as 1/4096 ms |    |                |
    +-----------------+----+--------------+----+----------------+
"""

from __future__ import annotations

import secrets
import time
import uuid

# Crockford's alphabet: no i, l, o or u, so a code can be read aloud.
CODE_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
CODE_LENGTH = 4


def uuid7() -> uuid.UUID:
    """A new row id; ids made later in one process sort later, down to 1/4096 ms."""
    milliseconds, remainder_ns = divmod(time.time_ns(), 1_000_000)
    fraction = remainder_ns * 4096 // 1_000_000
    value = (
        (milliseconds & 0xFFFF_FFFF_FFFF) << 80
        | 7 << 76
        | fraction << 64
        | 0b10 << 62
        | secrets.randbits(62)
    )
    return uuid.UUID(int=value)


def batch_code(length: int = CODE_LENGTH) -> str:
    """A short random code such as ``b-7k3f``; the caller must check that it is unique."""
    return "b-" + "".join(secrets.choice(CODE_ALPHABET) for _ in range(length))
