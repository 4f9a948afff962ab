"""What each verdict, invariant and kind of finding means."""

from __future__ import annotations

from refault.audits import CHECKS as ALL_CHECKS
from refault.audits import COST_CHECKS
from refault.audits import EXCEPTIONS as ALL_EXCEPTIONS
from refault.glossary.entry import CHECKS, EXCEPTIONS, FINDINGS, VERDICTS, Entry

_COMPARISON = "howto/read-a-comparison.md"
_AUDIT = "howto/audit.md"

VERDICT_ENTRIES = (
    Entry(
        "integrity",
        VERDICTS,
        "The same trace, variant and simulator gave two different results. Trust neither, and "
        "report both digests: it is a defect of the service or the machine.",
        also=("integrity alarm",),
        more=_COMPARISON,
    ),
    Entry(
        "broken-invariant",
        VERDICTS,
        "The simulated kernel broke its own rules, as the real one would: a use after free, an "
        "empty list, an endless zap; or an audit found a check to fail that holds under the base.",
        also=("invariant", "broken invariant"),
        more=_COMPARISON,
    ),
    Entry(
        "guest-visible-change",
        VERDICTS,
        "An access reached a wrong address, a fault was missed or spurious, or an outcome differs "
        "from the base's. A column whose guest sees wrong data often looks fast, because it leaves "
        "work out.",
        also=("guest sees", "guest sees a change", "guest-visible change"),
        more=_COMPARISON,
    ),
    Entry(
        "crashed",
        VERDICTS,
        "The run ended without a result, or took longer than the project allows.",
        also=("crashed or timed out",),
    ),
    Entry(
        "regression",
        VERDICTS,
        "A cost rose by more than the threshold and none fell, or one rose beyond a limit that the "
        "project has set.",
        also=("worse",),
        more=_COMPARISON,
    ),
    Entry(
        "mixed-worse",
        VERDICTS,
        "Some costs rose and others fell. Weighed in modelled cycles, their sum rose by more than "
        "the threshold.",
        also=("mixed+", "mixed, worse on balance"),
        more=_COMPARISON,
    ),
    Entry(
        "mixed",
        VERDICTS,
        "Some costs rose and others fell. Weighed in modelled cycles, their sum fell, or rose by "
        "less than the threshold; the reason says which way it leans.",
        more=_COMPARISON,
    ),
    Entry(
        "repair",
        VERDICTS,
        "What is wrong with the base is not wrong here: it stops, misleads its guest, has a "
        "finding, or fails checks of an audit. It may cost more.",
        more=_AUDIT,
    ),
    Entry(
        "improvement",
        VERDICTS,
        "A cost fell by more than the threshold and none rose.",
        also=("better",),
    ),
    Entry(
        "unchanged",
        VERDICTS,
        "Nothing that the guest sees changed, and no cost by more than the threshold.",
    ),
    Entry(
        "identical",
        VERDICTS,
        "Every outcome, every counter and every shadow page as under the base: no functional "
        "change holds on this trace.",
    ),
    Entry(
        "witnessed",
        VERDICTS,
        "Computed by another engine than the base: nothing contradicts the real guest, and "
        "counters are not compared.",
        also=("as witnessed",),
    ),
    Entry(
        "missing",
        VERDICTS,
        "The run is not done, or the base has no result to compare with.",
        also=("no result",),
    ),
    Entry(
        "base",
        VERDICTS,
        "The column that all others of the table are compared with; any column can be.",
    ),
)


def _check(name: str, text: str) -> Entry:
    told = f"{text[0].upper()}{text[1:]}."
    if name in COST_CHECKS:
        told += " A failure tells of lost work, not of a wrong answer."
    return Entry(name, CHECKS, told, more=_AUDIT)


CHECK_ENTRIES = tuple(_check(name, text) for name, text in ALL_CHECKS.items())
EXCEPTION_ENTRIES = tuple(
    Entry(name, EXCEPTIONS, f"{text[0].upper()}{text[1:]}.", more=_AUDIT)
    for name, text in ALL_EXCEPTIONS.items()
)

FINDING_ENTRIES = (
    Entry("livelock", FINDINGS, "An access that still faults after many exits: it never gets on."),
    Entry(
        "lost-dirty-page",
        FINDINGS,
        "A dirty log that was read lacks pages that were written since it was read before: a "
        "guest that is migrated by it loses what it wrote there.",
        more=_AUDIT,
    ),
    Entry(
        "use-after-free",
        FINDINGS,
        "A walk of a hash bucket goes on at a shadow page that its own zap has freed. The run "
        "stops here, as the kernel would crash.",
    ),
    Entry(
        "empty-list",
        FINDINGS,
        "The end of an empty list is taken for a shadow page, so memory that is none is written.",
    ),
    Entry(
        "endless-zap",
        FINDINGS,
        "Reclaim zaps roots in use for ever and cannot reach its target.",
    ),
    Entry(
        "endless-walk",
        FINDINGS,
        "Marking the ancestors of one page follows links without end.",
    ),
    Entry("endless-loop", FINDINGS, "A loop of the kernel comes to no end in one operation."),
    Entry("assertion", FINDINGS, "A reverse or back reference is not where it must be: a BUG()."),
    Entry(
        "large-as-table",
        FINDINGS,
        "A large leaf is taken for a table, and the guest's memory for its entries.",
    ),
    Entry("kernel-warning", FINDINGS, "A WARN of a kernel of one's own, with file and line."),
    Entry(
        "missed-flush",
        FINDINGS,
        "A processor under a kernel of one's own could still use what KVM took away: a "
        "translation that the guest flushed, a frame that the host unmapped, a store that a dirty "
        "log or a write-protected table was to see, a table that was given back. No flush "
        "followed.",
    ),
    Entry("bug", FINDINGS, "A BUG() of a kernel of one's own, with file and line."),
    Entry("signal", FINDINGS, "A kernel of one's own touched memory it must not touch."),
    Entry(
        "sanitizer",
        FINDINGS,
        "AddressSanitizer saw the first access to freed memory, or outside an object.",
    ),
    Entry(
        "missing-function",
        FINDINGS,
        "A kernel of one's own called a function that nothing built defines.",
    ),
    Entry("wild-table", FINDINGS, "A kernel of one's own linked a table that is not in memory."),
    Entry("out-of-memory", FINDINGS, "A kernel of one's own asked for more memory than it may."),
    Entry(
        "sandbox", FINDINGS, "A kernel of one's own made a forbidden system call, and was ended."
    ),
    Entry("crash", FINDINGS, "The program of a kernel of one's own ended unexpectedly."),
)

ENTRIES = (*VERDICT_ENTRIES, *CHECK_ENTRIES, *EXCEPTION_ENTRIES, *FINDING_ENTRIES)
