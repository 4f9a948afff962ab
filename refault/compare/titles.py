"""Titles of the semantics rows, shared by all forms of a comparison."""

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
"""The disagreements with the guest, by name of the row."""

SEMANTICS: Final = {"accesses": "accesses", "witnessed": "witnessed", **WRONG}
