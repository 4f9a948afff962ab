"""What is wrong with a base and not with a column, or with both, without any audit."""

from __future__ import annotations

from refault.facts import Facts, Place

SOMETHING_ELSE = "the guest or the host saw something else than under base"


def place_text(place: Place) -> str:
    """What was found, and where."""
    return f"{place.kind} at operation {place.operation_index}"


def repaired(facts: Facts, base: Facts) -> str:
    """What is wrong with the base and no longer with the column, as a sentence; empty if nothing.

    A base that stopped was not seen beyond that; a base that misled its guest is held against
    what the real guest saw, so another outcome of the column is the right one.
    """
    if facts.stopped is not None:
        return ""
    if base.stopped is not None:
        return (
            f"runs to the end, where base stops at operation {base.stopped.operation_index} "
            f"({base.stopped.kind})"
        )
    if any(base.disagreements):
        wrong = sum(base.disagreements)
        return (
            ""
            if any(facts.disagreements)
            else (
                "the guest sees what the real one saw, where base is wrong in "
                f"{wrong} {'access' if wrong == 1 else 'accesses'}"
            )
        )
    found = base.broken or base.seen
    if found is None or facts.finding_count:
        return ""
    told = f"has no {found.kind}, where base has one at operation {found.operation_index}"
    is_same = facts.shows_the_same(base)
    return told if is_same else f"{told}; {SOMETHING_ELSE}"


def defect_beside(facts: Facts, base: Facts) -> str:
    """How what is wrong with a column stands to its base; empty where that is sound."""
    if base.stopped is not None and facts.stopped != base.stopped:
        return f"base stops at operation {base.stopped.operation_index} ({base.stopped.kind})"
    if not (base.finding_count or any(base.disagreements) or base.stopped):
        return ""
    if facts.shows_the_same(base) and has_no_more_than(facts, base):
        return "as under base"
    ours, theirs = sum(facts.disagreements), sum(base.disagreements)
    if ours < theirs and has_no_more_than(facts, base):
        return f"fewer than under base, which is wrong in {theirs} accesses"
    return f"base is wrong in {theirs} accesses" if theirs else "base has findings too"


def has_no_more_than(facts: Facts, base: Facts) -> bool:
    """Whether all that is wrong with a result by itself is wrong with the base's too."""
    return (
        facts.stopped in {None, base.stopped}
        and facts.broken in {None, base.broken}
        and facts.finding_count <= base.finding_count
        and all(
            here <= there
            for here, there in zip(facts.disagreements, base.disagreements, strict=True)
        )
    )


def are_comparable(facts: Facts, base: Facts) -> bool:
    """Whether counters may be held against each other: one engine, and as far run as the other."""
    return facts.engine == base.engine and facts.stopped == base.stopped
