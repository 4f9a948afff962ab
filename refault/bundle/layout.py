"""The names inside a bundle, and the bounds on one that a stranger made.

::

    b-7k3f.zip
    └── refault-b-7k3f/
        ├── README.txt              how to open it and how to check it
        ├── index.html              the verdicts; style.css beside it
        ├── comparison.txt .md .csv of all traces, where there are at most WHOLE_CELLS cells
        ├── traces/001.html .json   one trace: its tables, and the same for machines
        ├── charts/001.svg          the chart of a trace, where it was drawn
        ├── results/DIGEST.json     every result, once
        ├── audits/DIGEST.json      every audit, once
        ├── manifest.json           which result is which cell, and the verdicts
        ├── SHA256SUMS              of all the files above, as sha256sum writes it
        ├── SHA256SUMS.sig          where somebody signed it: of ssh-keygen -Y
        └── captures/DIGEST.rft     the traces, where somebody added them; named by their bytes

Signature and captures stand outside of SHA256SUMS: they are added later, and each proves itself.
"""

from __future__ import annotations

import functools
import hashlib
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SUFFIX = ".zip"
FORMAT = "refault-bundle"
VERSION = 3
#: Version 1 had no patch sets, notes and charts, and 2 no titles of a kernel's patches; each is
#: read as one without. What has no such titles is written as 2, which older programs read.
VERSIONS = (1, 2, 3)
UNTITLED_VERSION = 2

README = "README.txt"
INDEX = "index.html"
STYLE = "style.css"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
CAPTURES = "captures/"
RESULTS = "results/"
AUDITS = "audits/"
CHARTS = "charts/"

#: The name under which a signature of ``ssh-keygen -Y`` is made and checked.
NAMESPACE = "refault-bundle"

#: Cells of one bundle: it has a file for each result.
CELLS_MAX = 10_000
#: Beyond so many, what each patch of the plan does is not told.
STEP_CELLS = 4_000
#: Beyond so many, the files of all traces together would be too large to read, and are left out.
WHOLE_CELLS = 2_000
#: Charts of one bundle: each takes up to a second to draw.
CHARTS_MAX = 12
#: Patches of one patch set: steps of a plan are looked for among them, column by column.
PATCHES_MAX = 1_000
#: Notes of one bundle.
NOTES_MAX = 1_000
#: Files of one bundle: results, audits, two for each trace, and those with a name. A zip with
#: more than 65,535 would need another kind of ending.
FILES_MAX = 4 * CELLS_MAX + 100
#: The list of files at the end of a zip: at most 150 bytes for each.
DIRECTORY_BYTES_MAX = 150 * FILES_MAX
#: The largest file that a service imports, without captures.
IMPORTED_BYTES_MAX = 16 << 20
#: One unpacked file, but for captures.
FILE_BYTES_MAX = 64 << 20
#: All unpacked files, but for captures.
TOTAL_BYTES_MAX = 512 << 20

#: The packages that make pages and verdicts; which patches a column has is of the catalogue.
_MAKING = ("bundle", "compare", "catalogue")
#: What they are made of beside these.
_MAKERS = ("facts", "results", "audits", "printable", "lineage")

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
NAME = re.compile(rf"refault-{_PART}/({_PART}(?:/{_PART})?)")
DIGEST = re.compile(r"[0-9a-f]{64}")


def folder_of(code: str) -> str:
    """The one folder of a batch's bundle."""
    return f"refault-{code}"


def page_of(number: int) -> str:
    """The page of a trace, counted from 1."""
    return f"traces/{number:03}.html"


def chart_of(number: int) -> str:
    """The chart of a trace, counted from 1."""
    return f"{CHARTS}{number:03}.svg"


@functools.cache
def maker() -> str:
    """The release and the code that make pages and verdicts: equal makers write equal bytes."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    files = [path for name in _MAKING for path in (root / name).rglob("*.py")]
    for path in [*sorted(files), *(root / f"{name}.py" for name in _MAKERS)]:
        digest.update(path.read_bytes())
    try:
        release = version("refault")
    except PackageNotFoundError:
        release = "0"
    return f"refault {release} ({digest.hexdigest()[:12]})"
