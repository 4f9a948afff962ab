"""Where this machine keeps what is made of kernels; known without loading the compiler."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where compiled kernels and digests of their source are kept.

    ``REFAULT_CACHE`` if it is set, a checkout's own ``.refault/cache``, else the user's cache.
    """
    named = os.environ.get("REFAULT_CACHE")
    if named:
        return Path(named)
    checkout = Path(__file__).resolve().parents[3]
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".refault" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "refault"
