"""Files are recognised by content before a verb does anything else with them."""

from __future__ import annotations

import os
from pathlib import Path

from refault.errors import NotATrace, NotFound, RefaultError
from refault.trace.importers.recognition import Found, Kind, look


def required(
    path: Path, *kinds: Kind, packed: bool = False, error: type[RefaultError] = NotATrace
) -> Found:
    """What a file is, which must be one of these kinds; ``packed`` if it may be compressed.

    Any other file is refused with what it is and which verb reads it, if any does.
    """
    found = look(path)
    if found.kind in kinds and (packed or not found.packing):
        return found
    raise error(found.refusal())


def no_file(word: str) -> str:
    """A word to ask the service about; a file on this machine is refused.

    What has a slash or an ending and is there is meant as a file.
    """
    path = Path(word)
    is_named_like_one = os.sep in word or bool(path.suffix)
    try:
        is_there = is_named_like_one and path.exists()
    except (OSError, ValueError):
        is_there = False
    if is_there:
        raise NotFound(look(path).refusal())
    return word
