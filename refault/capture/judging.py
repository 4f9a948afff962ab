"""Is a captured trace what the guest did? Where not, it is kept under a name that says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from refault.capture.capturing import Captured
from refault.errors import CaptureError
from refault.verify import Verification, verify


def judge(
    captured: Captured, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Path, Verification]:
    """Verify a trace and give it its name if it is good; answers where it is, and why.

    A trace that is not good stays as ``NAME.unverified.rft``.

    Raises:
        CaptureError: it cannot be renamed.
        TraceError: it cannot be read back.
    """
    found = verify(captured.path, progress=progress)
    if not found.is_good:
        return captured.path, found
    try:
        captured.path.replace(captured.good_path)
    except OSError as error:
        raise CaptureError(
            f"{captured.path} is good, but cannot become {captured.good_path}: {error.strerror}"
        ) from error
    return captured.good_path, found
