"""One word of the glossary, and the groups in which the help shows them."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Words of one kind: a heading of the help, with a sentence below it."""

    name: str
    title: str
    lead: str

    @property
    def anchor(self) -> str:
        """Its id on the help page."""
        return f"all-{self.name}"

    def to_dict(self) -> dict[str, Any]:
        """The group as JSON."""
        return dataclasses.asdict(self) | {"anchor": self.anchor}


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A word and its meaning, in sentences without markup.

    ``also`` are other spellings that tables use. ``more`` is the name of a page of ``docs``
    without its folder, or empty.
    """

    name: str
    group: str
    text: str
    also: tuple[str, ...] = ()
    more: str = ""

    @property
    def anchor(self) -> str:
        """Its id on the help page: the name, for counters and checks alone."""
        word = "-".join(self.name.replace(",", "").split())
        prefix = _PREFIXES.get(self.group)
        return f"{prefix}-{word}" if prefix else word

    def is_called(self, word: str) -> bool:
        """Whether it has this name, in any spelling."""
        return word.casefold() in {name.casefold() for name in (self.name, *self.also)}

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON."""
        return dataclasses.asdict(self) | {"also": list(self.also), "anchor": self.anchor}


COSTS = "costs"
COUNTERS = "counters"
GAUGES = "gauges"
WORK = "work"
SEMANTICS = "semantics"
ANSWERS = "answers"
KERNEL = "kernel-counters"
VERDICTS = "verdicts"
CHECKS = "checks"
EXCEPTIONS = "exceptions"
FINDINGS = "findings"
SKIPPED = "skipped"
TERMS = "terms"
TEAM = "team"
KVM = "kvm"

#: In front of anchors of groups whose words are also those of others.
_PREFIXES = {VERDICTS: "verdict", TERMS: "word", TEAM: "team", KVM: "kvm"}

#: In the order of the help page.
GROUPS: tuple[Group, ...] = (
    Group(
        VERDICTS,
        "Verdicts",
        "The first of these that holds is the verdict of a column on a trace. What the guest saw "
        "comes before what it cost: in front of an alarming verdict no counter means anything.",
    ),
    Group(
        SEMANTICS,
        "What the guest saw",
        "A capture recorded what the real guest saw of nearly every access: the address it "
        "reached, or the fault it took. Each one is compared.",
    ),
    Group(
        COSTS,
        "Host work: the counters that decide",
        "Less is better. One that rises beyond the threshold makes a column worse, one that falls "
        "makes it better; where some rise and some fall, it is mixed, and weights say which way.",
    ),
    Group(
        COUNTERS,
        "Other counters",
        "KVM's own debugfs names where it has one. They explain a cost, and decide nothing.",
    ),
    Group(GAUGES, "Values at the end", "What is there when the trace ends: no sum of events."),
    Group(WORK, "Work of the replay", "How the accesses of the guest were carried out."),
    Group(
        ANSWERS,
        "Answers to the guest and the host",
        "What operations that are no accesses answered, in all.",
    ),
    Group(
        KERNEL,
        "Counters of a kernel of one's own",
        "The statistics of that tree, under its names; a tree may have others still. Names that "
        "the model has too mean the same, but exits: there it is what vm_exits is here.",
    ),
    Group(
        CHECKS,
        "Invariants that an audit checks",
        "What must hold while a variant runs, by the name of the specification: "
        "docs/howto/audit.md.",
    ),
    Group(
        EXCEPTIONS,
        "Known exceptions",
        "What the kernels of that time did wrong too. A check that fails for one of these reasons "
        "does not make a variant unsound: docs/howto/audit.md.",
    ),
    Group(
        FINDINGS,
        "Kinds of findings",
        "What went wrong in a run, with the event and the operation where it did.",
    ),
    Group(
        SKIPPED,
        "Events not replayed as they are",
        "Why an event of the trace became no operation, or another one.",
    ),
    Group(TERMS, "Words of this service", "Each means one thing, on pages as in addresses."),
    Group(TEAM, "A team", "Who may see and do what."),
    Group(KVM, "Words of KVM and the manuals", "As kernel and processor manuals use them."),
)
