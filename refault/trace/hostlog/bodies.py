"""What stands behind an event's name in a text: the kernel's words, or trace-cmd's raw fields.

Formats after ``arch/x86/kvm/trace.h`` and ``mmu/mmutrace.h`` of Linux 2.6.34 to 6.x, and
libtraceevent's ``plugin_kvm.c``. The plugin leaves out the gfn of sync, unsync and zap, and decodes
the role by bits of another kernel, so that of its role only level, quadrant and sync are used.
"""

from __future__ import annotations

import re
from typing import Final

from refault.trace.hostlog.events import MARKS, PAGE_EVENTS, renamed
from refault.trace.hostlog.roles import Roles

Fields = dict[str, int | str]
_NUMBER: Final = r"(?:0x)?([0-9a-fA-F]{1,16})"
_RAW: Final = re.compile(r"(\w+)=(-?\w+)")
_ACCESS: Final = re.compile(r"[-a-zA-Z]{3,5}")
_LETTERS: Final = {"x": 1, "w": 2, "u": 4}
_WORD: Final = (1 << 64) - 1
# Fields that trace-cmd's raw report prints in decimal; those of page events all are, because
# libtraceevent cannot parse how the kernel prints them.
_DECIMAL: Final = frozenset(
    {"vcpu_id", "level", "rw", "write", "exception", "isa", "exit_reason", "r", "x", "u"}
)
# Fields that some kernels record but do not print; those that do print them put 0x before.
_NOT_PRINTED: Final = frozenset({("kvm_exit", "intr_info"), ("kvm_exit", "error_code")})
_REQUIRED: Final = {
    "kvm_entry": "vcpu",
    "kvm_page_fault": "address",
    "kvm_cr": "value",
    "kvm_msr": "value",
    "kvm_exit": "reason",
    "kvm_mmu_pagetable_walk": "address",
    "kvm_mmu_paging_element": "pte",
    "kvm_mmu_set_accessed_bit": "gpa",
    "kvm_mmu_set_dirty_bit": "gpa",
    "kvm_mmu_walker_error": "error_code",
    "kvm_mmu_set_spte": "spte",
}

# Each with the names of its groups: numbers in hexadecimal, those of _WORDS as words or in decimal.
_PRINTED: Final[dict[str, tuple[re.Pattern[str], tuple[str, ...]]]] = {
    "kvm_entry": (re.compile(rf"vcpu (\d{{1,9}})(?:,? rip {_NUMBER})?"), ("vcpu", "rip")),
    "kvm_exit": (
        re.compile(
            rf"(?:vcpu (\d{{1,9}}) )?reason (\S+(?: \(\d+\))?) rip {_NUMBER}"
            rf"(?: info1? {_NUMBER}(?: info2)? {_NUMBER})?"
            rf"(?: intr_info {_NUMBER} error_code {_NUMBER})?"
        ),
        ("vcpu", "reason", "rip", "info1", "info2", "intr_info", "error_code"),
    ),
    "kvm_page_fault": (
        re.compile(
            rf"(?:vcpu (\d{{1,9}}) (?:rip {_NUMBER} )?)?address {_NUMBER} error_code {_NUMBER}"
        ),
        ("vcpu", "rip", "address", "error_code"),
    ),
    "kvm_cr": (re.compile(rf"cr_(read|write) {_NUMBER} = {_NUMBER}"), ("write", "cr", "value")),
    "kvm_msr": (
        re.compile(rf"msr_(read|write) {_NUMBER} = {_NUMBER}( \(#GP\))?"),
        ("write", "msr", "value", "exception"),
    ),
    "kvm_mmu_pagetable_walk": (
        re.compile(rf"addr {_NUMBER} pferr {_NUMBER}(?: [A-Z|]*)?"),
        ("address", "error_code"),
    ),
    "kvm_mmu_paging_element": (re.compile(rf"pte {_NUMBER} level (\d)"), ("pte", "level")),
    "kvm_mmu_set_accessed_bit": (re.compile(rf"gpa {_NUMBER}"), ("gpa",)),
    "kvm_mmu_set_dirty_bit": (re.compile(rf"gpa {_NUMBER}"), ("gpa",)),
    "kvm_mmu_walker_error": (re.compile(rf"pferr {_NUMBER}(?: [A-Z|]*)?"), ("error_code",)),
    "kvm_mmu_set_spte": (
        re.compile(rf"gfn {_NUMBER} spte {_NUMBER} \([-rwxu]*\) level (\d) at {_NUMBER}"),
        ("gfn", "spte", "level", "sptep"),
    ),
    "kvm_inj_exception": (re.compile(rf"(#\w+)(?: \({_NUMBER}\))?"), ("vector", "error_code")),
}
_WORDS: Final = frozenset({"write", "reason", "vector", "exception", "vcpu", "level"})


def read(name: str, text: str, roles: Roles) -> tuple[Fields, bool] | None:
    """The fields of an event from its text, and whether the text ends where they do.

    A text that ends later may be of a newer kernel, or cut in two by a mail. None if the text is
    not one that this event has; events of other names have no fields.
    """
    if name in MARKS:
        return {"text": text}, True
    if "=" in text and (found := _raw(name, text, roles)) is not None:
        return found
    if name in PAGE_EVENTS:
        return _page(name, text)
    if name not in _PRINTED:
        return {}, True
    pattern, names = _PRINTED[name]
    match = pattern.match(text)
    if match is None:
        return None
    fields: Fields = {}
    for key, group in zip(names, match.groups(), strict=True):
        if group is not None:
            fields[key] = _value(key, group) if key in _WORDS else int(group, 16)
    if name == "kvm_msr":
        fields["exception"] = int("exception" in fields)
    # Kernels that print info1 and info2 print two numbers more behind them.
    is_cut = name == "kvm_exit" and " info1" in text and "error_code" not in fields
    return fields, match.end() == len(text) and not is_cut


def _value(key: str, group: str) -> int | str:
    if key == "write":
        return int(group == "write")
    if key in {"reason", "vector"}:
        return group
    return 1 if key == "exception" else int(group)


def _raw(name: str, text: str, roles: Roles) -> tuple[Fields, bool] | None:
    """The fields of `trace-cmd report -R`, or of an event whose format it could not parse."""
    raw: dict[str, int | str] = {}
    for key, word in _RAW.findall(text):
        is_decimal = name in PAGE_EVENTS or key in _DECIMAL or (name, key) in _NOT_PRINTED
        number = _raw_number(word, is_decimal=is_decimal)
        if number is None:
            return None
        raw[key] = number
    if not raw or (name in _REQUIRED and _REQUIRED[name] not in renamed(name, raw)):
        return None
    if name not in PAGE_EVENTS:
        return renamed(name, raw), True
    if "gfn" not in raw or "role" not in raw:
        return None
    return page_fields(raw, roles), name != "kvm_mmu_get_page" or "created" in raw


def page_fields(raw: dict[str, int | str], roles: Roles) -> Fields:
    """The fields of a page event from those of the kernel's entry."""
    kept = ("gfn", "root_count", "unsync", "created")
    fields: Fields = {key: raw[key] for key in kept if key in raw}
    role = raw.get("role")
    if isinstance(role, int):
        fields |= roles.decode(role & 0xFFFF_FFFF)
    return fields


def _raw_number(word: str, *, is_decimal: bool) -> int | None:
    base = 10 if is_decimal and not word.startswith("0x") else 16
    try:
        return int(word[:24], base) if word.startswith("-") else int(word[:24], base) & _WORD
    except ValueError:
        return None


def _page(name: str, text: str) -> tuple[Fields, bool] | None:
    """A page event in words; what is not a word of one ends it."""
    fields: Fields = {}
    words = text.replace("\0", " ").split()
    is_plugin = bool(words) and (words[0] in {"new", "existing"} or _is_bare_role(words))
    at = 0
    while at < len(words):
        word = words[at]
        if word in _NUMBERED and at + 1 < len(words):
            if (number := _numbered(word, words[at + 1])) is None:
                return None
            if word != "gen":
                fields[_NUMBERED[word]] = number
            at += 2
            continue
        if not _take(word, fields):
            return None
        at += 1
    if is_plugin:
        # The older plugin takes the role of any kernel for one of 2.6.34, and prints 1/4 of it.
        kept = _OF_OLD_PLUGIN if any("/" in word for word in words) else _OF_PLUGIN
        is_whole = "level" in fields and "unsync" in fields
        fields = {key: fields[key] for key in kept if key in fields}
        if is_whole:
            return _finished(name, fields)
    if "level" not in fields or "unsync" not in fields:
        return (fields, False) if {"gfn", "level"} & fields.keys() else None
    return _finished(name, fields)


def _finished(name: str, fields: Fields) -> tuple[Fields, bool]:
    if name == "kvm_mmu_get_page":
        return fields, "created" in fields
    fields.pop("created", None)
    return fields, True


_OF_OLD_PLUGIN: Final = ("gfn", "root_count", "unsync", "created")
_OF_PLUGIN: Final = ("gfn", "level", "quadrant", "root_count", "unsync", "created")
_NUMBERED: Final = {"gen": "gen", "gfn": "gfn", "root": "root_count"}
_STATES: Final = {
    "sync": ("unsync", 0),
    "unsync": ("unsync", 1),
    "new": ("created", 1),
    "existing": ("created", 0),
    "direct": ("direct", 1),
    "invalid": ("invalid", 1),
}
_BITS: Final = re.compile(r"!?(?:nxe|ad|pge|pae|wp|smep|smap|smm|pse|passthrough)")
_LATER_BIT: Final = re.compile(r"!?[a-z][a-z0-9_]{1,19}")
_LEVEL: Final = re.compile(r"l?([1-5])(?:/(\d))?")
_PTE_BYTES: Final = re.compile(r"([48])-byte")


def _is_bare_role(words: list[str]) -> bool:
    """Whether it begins with a level: sync, unsync and zap as the plugin prints them."""
    return re.fullmatch(r"\d(?:/\d)?", words[0]) is not None


def _numbered(word: str, number: str) -> int | None:
    try:
        return int(number[:20], 10 if word == "root" else 16)
    except ValueError:
        return None


def _take(word: str, fields: Fields) -> bool:
    """Take one word of a page; False if a page has no such word."""
    if word in _STATES:
        key, value = _STATES[word]
        fields[key] = value
        if key == "unsync":
            fields.setdefault("direct", 0)
            fields.setdefault("invalid", 0)
    elif word == "sp" or _BITS.fullmatch(word):
        pass
    elif "access" in fields and "root_count" not in fields and _LATER_BIT.fullmatch(word):
        pass  # of a newer kernel, or of a patch
    elif match := _PTE_BYTES.fullmatch(word):
        fields["pte_bytes"] = int(match[1])
    elif match := re.fullmatch(r"q([0-3])", word):
        fields["quadrant"] = int(match[1])
    elif "level" not in fields and (match := _LEVEL.fullmatch(word)):
        fields["level"] = int(match[1])
    elif "quadrant" in fields and _ACCESS.fullmatch(word):
        fields["access"] = sum(bit for letter, bit in _LETTERS.items() if letter in word)
    else:
        return False
    return True
