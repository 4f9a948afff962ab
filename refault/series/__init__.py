"""Patch series in mail: read, split into versions, matched to the catalogue.

:func:`read` takes an mbox, mails, patch files or what ``git log -p`` prints;
:func:`match` finds which patch of the catalogue each of them is.
"""

from __future__ import annotations

from refault.series.budget import BYTES_MAX, MAILS_MAX
from refault.series.diffs import diff_id
from refault.series.mail import Mail, Reading, Skipped, read
from refault.series.matching import Match, apply_mapping, match, patch_ids, remedies

__all__ = [
    "BYTES_MAX",
    "MAILS_MAX",
    "Mail",
    "Match",
    "Reading",
    "Skipped",
    "apply_mapping",
    "diff_id",
    "match",
    "patch_ids",
    "read",
    "remedies",
]
