"""What a pool process may take of the machine's memory, held by the kernel.

A replay asks its budget before its arrays grow. This is for whatever slips through: an allocation
beyond the limit fails in the process that asked for it, and its shard is given back with that
reason; and if the machine itself runs out, the kernel takes this process and none of the others.
"""

from __future__ import annotations

import contextlib
import logging
import resource
from pathlib import Path

from services.shared.limits import BASE_BYTES, Limits

_log = logging.getLogger(__name__)

OOM_SCORE = "500"
"""Of 1000: taken before the processes that have 0, as all others have unless told otherwise."""


def limit(limits: Limits) -> None:
    """Hold this process to what a replay may take and, beside that, what any replay needs."""
    most = _private_bytes() + limits.memory_bytes + BASE_BYTES // 2
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")


def _private_bytes() -> int:
    """What the limit would count now: the heap and private mappings that can be written."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return BASE_BYTES
