"""A batch's comparison as one file that opens, verifies and imports without the service.

:class:`BundleWriter` makes one, :class:`Bundle` reads one that anybody may have made, and
:func:`verify` says whether its files, its results and its verdicts belong together.
"""

from __future__ import annotations

from refault.bundle.head import Cell, Head, HeadColumn, HeadNote, HeadSet
from refault.bundle.layout import CELLS_MAX, SUFFIX, TOTAL_BYTES_MAX
from refault.bundle.reader import Bundle
from refault.bundle.verify import Checked, verify
from refault.bundle.writer import BundleWriter

__all__ = [
    "CELLS_MAX",
    "SUFFIX",
    "TOTAL_BYTES_MAX",
    "Bundle",
    "BundleWriter",
    "Cell",
    "Checked",
    "Head",
    "HeadColumn",
    "HeadNote",
    "HeadSet",
    "verify",
]
