"""The memory limit of a pool process, enforced by the kernel.

A replay checks its budget before its arrays grow. This is for everything else: an allocation
beyond the limit fails in its process, and the shard is requeued with that reason; and if the
machine runs out of memory, the OOM killer takes this process first.
"""

from __future__ import annotations

import contextlib
import logging
import resource
from pathlib import Path

from services.shared.limits import BASE_BYTES, Limits

_log = logging.getLogger(__name__)

OOM_SCORE = "500"
"""oom_score_adj, up to 1000: killed before processes with the default of 0."""


def limit(limits: Limits) -> None:
    """Limit this process to a replay's memory plus what any replay needs besides."""
    most = _private_bytes() + limits.memory_bytes + BASE_BYTES // 2
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    # The hard limit stays: what this process starts within walls of its own has limits of its own.
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")


def _private_bytes() -> int:
    """What RLIMIT_DATA counts now: the heap and private writable mappings."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return BASE_BYTES
