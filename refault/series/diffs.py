"""What a diff changes, as a name that survives rebasing and mail: :func:`diff_id`."""

from __future__ import annotations

import hashlib
import re

_FILE = re.compile(r"(?:---|\+\+\+) (?:[ab]/)?(\S+)")
_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


def diff_id(text: str) -> str | None:
    """sha256 over the added and removed lines of a unified diff; None if there is none.

    After ``git patch-id``: line numbers and white space do not count, for mail
    changes both. Nor do context lines, so that the same change against a
    neighbouring kernel is the same, nor the order of the files. A line belongs
    to its file, and within a file the order of lines counts.
    """
    files: dict[str, list[str]] = {}
    name, before, after = "", 0, 0
    for line in text.splitlines():
        if before > 0 or after > 0:
            sign, rest = line[:1], "".join(line[1:].split())
            if sign in "+-" and sign:
                files.setdefault(name, []).append(sign + rest)
            before -= sign not in {"+", "\\"}
            after -= sign not in {"-", "\\"}
            continue
        if found := _FILE.match(line):
            # The last name wins: that after the change, unless the file goes.
            name = name if found[1] == "/dev/null" else found[1]
        elif found := _HUNK.match(line):
            before, after = (1 if count is None else int(count) for count in found.groups())
    if not any(files.values()):
        return None
    parts = sorted("\n".join([name, *lines]) for name, lines in files.items())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
