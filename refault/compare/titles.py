"""What rows of the semantics are called, in every form a comparison is shown in."""

from __future__ import annotations

from typing import Final

WRONG: Final = {
    "wrong_address": "wrong address",
    "missed_fault": "missed fault",
    "spurious_fault": "spurious fault",
    "wrong_error_code": "wrong error code",
    "other": "other outcome",
    "stale": "of these, stale",
}
"""The ways the guest was misled, by name of the row."""

SEMANTICS: Final = {"accesses": "accesses", "witnessed": "witnessed", **WRONG}
