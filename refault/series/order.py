"""Which patches of a file are the series, in the order they apply, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from refault.errors import SeriesError

if TYPE_CHECKING:
    from refault.series.mail import Mail

_LISTED_MAX = 10


def chosen(
    patches: Sequence[Mail], claimed: Mapping[tuple[int, int], str], version: int | None
) -> tuple[int, list[Mail], list[tuple[Mail, str]], list[str]]:
    """A version, its patches in order, what is left out and why, and what is wrong with it.

    The newest version that is complete; if none is, the newest. ``claimed`` names mails without
    a diff by version and number.

    Raises:
        SeriesError: that version is not there, or two different mails claim one number of it.
    """
    versions, left_out = _without_copies(patches)
    listed = sorted(versions)
    if version is not None and version not in versions:
        words = ", ".join(f"v{number}" for number in listed)
        raise SeriesError(f"no version v{version} in this file; there is {words}")
    newest = listed[-1]
    complete = [number for number in listed if not _problems(versions[number], claimed)]
    wanted = version or (complete or listed)[-1]
    problems = _problems(versions[wanted], claimed)
    if version is None and wanted != newest:
        words = "; ".join(_problems(versions[newest], claimed))
        problems.append(f"v{wanted} is read, because v{newest} is incomplete: {words}")
    left_out += [
        (mail, f"of v{mail.version}, not v{wanted}")
        for number in listed
        for mail in versions[number]
        if number != wanted
    ]
    return wanted, _ordered(versions[wanted]), left_out, problems


def _without_copies(
    patches: Sequence[Mail],
) -> tuple[dict[int, list[Mail]], list[tuple[Mail, str]]]:
    """The patches by version. A copy has the same diff under the same number, or under none."""
    versions: dict[int, list[Mail]] = {}
    copies: list[tuple[Mail, str]] = []
    identity = {id(mail): (mail.version, mail.diff_id, mail.diff.places) for mail in patches}
    numbered = {identity[id(mail)] for mail in patches if mail.number is not None}
    seen: set[tuple[object, int | None]] = set()
    for mail in patches:
        name = identity[id(mail)]
        if (name, mail.number) in seen or (mail.number is None and name in numbered):
            copies.append((mail, "a duplicate of another mail"))
        else:
            versions.setdefault(mail.version, []).append(mail)
        seen.add((name, mail.number))
    return versions, copies


def _ordered(patches: list[Mail]) -> list[Mail]:
    """In the order of their numbers; those without one stay where they stood, at the end."""
    by_number: dict[int, Mail] = {}
    for mail in patches:
        if mail.number is None:
            continue
        rival = by_number.setdefault(mail.number, mail)
        if rival is not mail:
            raise SeriesError(
                f"two different mails are number {mail.number}: {rival.subject!r} and "
                f"{mail.subject!r}; upload one series at a time"
            )
    return sorted(patches, key=lambda mail: (mail.number is None, mail.number or 0))


def _problems(patches: Sequence[Mail], claimed: Mapping[tuple[int, int], str]) -> list[str]:
    """What keeps the patches of one version from being one whole series."""
    version = patches[0].version
    numbered = [mail for mail in patches if mail.number is not None]
    totals = sorted({mail.total or 0 for mail in numbered})
    if not numbered:
        return []
    problems = []
    if len(totals) > 1:
        words = " and ".join(f"of {total}" for total in totals)
        problems.append(f"mails of different series are mixed: some are numbered {words}")
    total = totals[-1]
    numbers = {mail.number for mail in numbered}
    missing_count = total - sum(1 for number in numbers if number and number <= total)
    last = min(total, len(numbers) + _LISTED_MAX)
    missing = [number for number in range(1, last + 1) if number not in numbers][:_LISTED_MAX]
    for number in [number for number in missing if (version, number) in claimed]:
        missing.remove(number)
        missing_count -= 1
        name = claimed[version, number]
        problems.append(f"{number}/{total} has no diff that can be read: {name!r}")
    if missing:
        words = ", ".join(f"{number}/{total}" for number in missing)
        rest = missing_count - len(missing)
        words += f" and {rest} more" if rest > 0 else ""
        problems.append(f"{words} {'is' if missing_count == 1 else 'are'} missing")
    beyond = [mail for mail in numbered if (mail.number or 0) > (mail.total or 0)]
    problems += [f"{mail.number}/{mail.total} has a number beyond the last" for mail in beyond[:1]]
    if len(numbered) < len(patches):
        loose = next(mail for mail in patches if mail.number is None)
        problems.append(f"a patch without a number is among numbered ones: {loose.subject!r}")
    return problems
