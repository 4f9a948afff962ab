"""Series of patches as people mail them: read, told apart, matched to the catalogue.

:func:`read` takes an mbox, a mail or the output of ``git format-patch``;
:func:`match` finds which patch of the catalogue each mail is.
"""

from __future__ import annotations

from refault.series.diffs import diff_id
from refault.series.mail import Mail, Reading, Skipped, read
from refault.series.matching import Match, apply_mapping, match

__all__ = ["Mail", "Match", "Reading", "Skipped", "apply_mapping", "diff_id", "match", "read"]
