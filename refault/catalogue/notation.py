"""A patch set as one line, in the command line and in reports.

::

    p3
    p2+p3+p4
    v2.6.34-pre+zap-account+parent-stop-bit
    zap-account+parent-stop-bit,page-limit=128,bypass=1
    series,page-limit=400/64/32768
    p3,tlb=1
    walk
    kernel:mine+1..3,page-limit=128
    kernel:mine,tdp=1

First a golden name or what a release merged (``merged-2.6.36``), or patches
joined by ``+``, each by its id or its short name (a base in front if it is not
the default; the base ``walk`` alone is the architecture without KVM); then
parameters. A page limit of three numbers is a schedule: the first limit, the
second, and after how many operations they alternate.
"""

from __future__ import annotations

import dataclasses
import re

from refault.catalogue.bases import ARCHITECTURE, BASES
from refault.catalogue.entries import PATCHES
from refault.catalogue.model import KERNEL, Parameters, PatchSet, is_kernel
from refault.catalogue.named import NAMED
from refault.catalogue.resolve import get_patch
from refault.errors import InvalidParameter, UnknownPatch, nearest

# Every valid number is shorter; Python itself refuses to read one of 5,000 digits.
_DIGITS_MAX = 20
_SCHEDULE_PARTS = 3
_SHORT = {patch.short: patch.id for patch in PATCHES}


def patch_set_from_text(text: str) -> PatchSet:
    """The patch set of one line.

    Raises:
        UnknownPatch, InvalidParameter: naming the part that is not valid.
    """
    code, *settings = (part.strip() for part in text.split(","))
    base, patches = _code(code)
    return PatchSet(base, patches, _parameters(settings))


def patch_set_to_text(patch_set: PatchSet) -> str:
    """The line that :func:`patch_set_from_text` reads as this patch set."""
    words = list(patch_set.patches)
    if patch_set.base != BASES[0].id or not words:
        words.insert(0, patch_set.base)
    return ",".join(("+".join(words), *patch_set.parameters.to_words()))


def kernel_patches_by_number(wanted: PatchSet) -> PatchSet:
    """``kernel:mine+1..3`` as the service has it: base ``kernel:mine``, patches by number.

    Any other patch set stays as it is.

    Raises:
        InvalidParameter: a patch is not named by number.
    """
    if not is_kernel(wanted.base):
        return wanted
    name, *words = wanted.base.removeprefix(KERNEL).split("+")
    numbers: list[str] = []
    for word in words:
        found = re.fullmatch(r"([0-9]{1,4})(?:\.\.([0-9]{1,4}))?", word)
        if found is None:
            raise InvalidParameter(
                f"{wanted.base}: patches of a kernel are named by number, such as "
                f"{KERNEL}{name}+1..3 or {KERNEL}{name}+1+3"
            )
        first, last = int(found[1]), int(found[2] or found[1])
        numbers += [str(number) for number in range(first, last + 1)]
    return dataclasses.replace(wanted, base=f"{KERNEL}{name}", patches=tuple(numbers))


def _code(code: str) -> tuple[str, tuple[str, ...]]:
    if is_kernel(code):
        return code, ()
    if code in NAMED:
        return NAMED[code].base, NAMED[code].patches
    words = [word.strip() for word in code.split("+")]
    known = {base.id for base in (*BASES, ARCHITECTURE)}
    base = words.pop(0) if words[0] in known else BASES[0].id
    return base, tuple(_patch_id(word) for word in words)


def _patch_id(word: str) -> str:
    if word in _SHORT:
        return _SHORT[word]
    try:
        return get_patch(word).id
    except UnknownPatch as error:
        lead, known, rest = str(error).partition("is not in the catalogue")
        # Of the ids no near one; of the short names there may be.
        near = "" if rest.startswith(" (") else nearest(word, (*_SHORT, *NAMED))
        raise UnknownPatch(
            f"{lead}{known}{near}{rest}; or, in front of parameters only, {', '.join(NAMED)}"
        ) from None


def _parameters(settings: list[str]) -> Parameters:
    fields: dict[str, object] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        field = name.strip().replace("-", "_")
        if field in fields:
            raise InvalidParameter(f"{field}: given twice in {setting!r}; keep one")
        fields[field] = _limit(value) if field == "page_limit" else _number(value, field)
    return Parameters.from_dict(fields)


def _limit(value: str) -> object:
    parts = value.split("/")
    if len(parts) == 1:
        return _number(value, "page_limit")
    if len(parts) != _SCHEDULE_PARTS:
        raise InvalidParameter(
            f"page_limit: {value!r} is neither a number nor a schedule like 400/64/32768"
        )
    names = ("first", "then", "every")
    return {
        name: _number(part, f"page_limit.{name}") for name, part in zip(names, parts, strict=True)
    }


def _number(value: str, field: str) -> int:
    digits = value.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
        shown = value if len(value) <= _DIGITS_MAX else f"{value[:_DIGITS_MAX]}..."
        raise InvalidParameter(f"{field}: expected a whole number, got {shown!r}")
    return int(digits)
