"""What the subject of a mail says: whether it answers, which patch of how many, which version.

::

    Re: [some-list] [PATCH v2 5.10/5.15 3/6] KVM MMU: one line
     │       │         │    │      │    │ │    └── what git log would show
     │       │         │    │      │    └─┴─────── number, total
     │       │         │    │      └────────────── trees; not a number
     │       │         │    └───────────────────── version (1 if it is not named)
     │       └─────────┴────────────────────────── tags
     └──────────────────────────────────────────── an answer, in any language
"""

from __future__ import annotations

import dataclasses
import re

LENGTH_MAX = 1_000

_ANSWERS = (
    "re|aw|antw|antwort|sv|vs|vl|vb|wg|fw|fwd|tr|rv|rif|ref|res|r|i|enc|odp|pd|ynt|ilt|bls|atb"
    "|doorst|réf|vá|továbbítás|trả lời|xr"
)
_ANSWER = re.compile(
    rf"\s*(?:(?:{_ANSWERS})(?:\s?[\[(^*]?\d{{1,4}}[\])]?)?|[^\x00-\x7f][^\s:\uff1a\[\]]{{0,15}})\s?[:\uff1a]\s*",
    re.IGNORECASE,
)
_BRACKET = re.compile(r"\s*\[([^\]]*)\]\s*")
_IS_PATCH = re.compile(r"patch|rfc|rft|rebase|resend|\bv\d|\d\s*/\s*\d|\d\s+of\s+\d", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?<![\d./])(\d{1,6})\s{0,3}(?:/|of)\s{0,3}(\d{1,6})(?![\d./])", re.IGNORECASE
)
_VERSION = re.compile(
    r"(?:^|[^a-z0-9.]|patch|rfc|resend)(?:v|ver|version|take|try|rev)[\s.#-]?(\d{1,6})(?![\da-z])",
    re.IGNORECASE,
)
_VERSION_BEHIND = re.compile(r"\s*[\[(]\s?v(\d{1,6})\s?[\])]$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """A subject, taken apart. ``number`` and ``total`` are None where it does not count."""

    text: str
    bare: str
    tags: str
    version: int
    number: int | None
    total: int | None
    is_answer: bool


def take_apart(text: str) -> Subject:
    """The parts of a subject; longer than 1,000 characters it is cut there."""
    text = text[:LENGTH_MAX].strip()
    rest, is_answer = text, False
    brackets: list[str] = []
    of_patch: list[str] = []
    while rest:
        if not of_patch and (found := _ANSWER.match(rest)):
            is_answer = True
        elif found := _BRACKET.match(rest):
            brackets.append(found[1].strip())
            if _IS_PATCH.search(found[1]):
                of_patch.append(brackets[-1])
        else:
            break
        rest = rest[found.end() :]
    tags = " ".join(of_patch or brackets)
    version, bare = _version(tags, rest.strip(" :\t"))
    number, total = _number(tags)
    return Subject(text, bare, tags, version, number, total, is_answer)


def _number(tags: str) -> tuple[int | None, int | None]:
    """The last pair of numbers, for trees are named before it; better one that can be."""
    pairs = [(int(found[1]), int(found[2])) for found in _NUMBER.finditer(tags)]
    possible = [pair for pair in pairs if pair[0] <= pair[1]]
    return (possible or pairs)[-1] if pairs else (None, None)


def _version(tags: str, bare: str) -> tuple[int, str]:
    if found := _VERSION.search(tags):
        return max(1, int(found[1])), bare
    if found := _VERSION_BEHIND.search(bare[-40:]):
        return max(1, int(found[1])), bare[: len(bare) - len(found[0])].strip()
    return 1, bare
