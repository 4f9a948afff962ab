"""What became of an address or a table: the operations that changed the words it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refault.diverge.guest_walk import Word, guest_walk
from refault.diverge.shadow_pages import role_text
from refault.diverge.shadow_walk import walk_by_page
from refault.engines.audit import tell, watching
from refault.engines.audit import words as au
from refault.engines.audit.steps import step_of
from refault.engines.shadow.state import words
from refault.inspect.changes import Change, Seen, changes_before
from refault.inspect.state import Turn, handles_of, notation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.diverge.shadow_pages import Notation
    from refault.engines.base import Host
    from refault.inspect.place import Timeline

#: Operations of a history that are shown: the latest.
OPERATIONS_SHOWN = 20
#: Pages of one table whose histories are shown.
PAGES_WATCHED = 4
_OF_PAGE = (words.ROLE, words.ROOT_COUNT, words.UNSYNC, words.UNSYNC_CHILDREN, words.PARENTS)


def entries_of(host: Host, vcpu: int, gva: int) -> list[Seen]:
    """The entries of both walks of an address, upper ones included."""
    walked = walk_by_page(host, vcpu, gva, notation(host))
    seen = [Seen(au.WATCH_SPT, (sp << 5) + entry.index) for sp, entry in walked]
    guest = guest_walk(host, vcpu, gva)
    return seen + [Seen(au.WATCH_GUEST, entry.gpa & ~7) for entry in guest.entries]


def words_of_address(host: Host, vcpu: int, gva: int) -> list[Seen]:
    """These entries, whether the pages of the walk are out of sync, and the marks on the way."""
    seen = entries_of(host, vcpu, gva)
    for sp, entry in walk_by_page(host, vcpu, gva, notation(host)):
        seen.append(Seen(au.WATCH_PAGE, sp + words.UNSYNC))
        if entry.level > 1:
            seen.append(Seen(au.WATCH_PAGE, sp + words.BITMAP + (entry.index >> 5)))
    return seen


def words_of_table(host: Host, gfn: int) -> list[Seen]:
    """The headers of the pages that shadow a frame now: role, roots, sync, parents, marks."""
    return [seen for sp in handles_of(host, gfn)[:PAGES_WATCHED] for seen in _header(sp)]


def words_of_page(number: int) -> list[Seen]:
    """The header of a shadow page, whatever table it was of."""
    return _header(number * words.PAGE_WORDS)


def _header(sp: int) -> list[Seen]:
    places = (*_OF_PAGE, *range(words.BITMAP, words.PAGE_WORDS))
    return [Seen(au.WATCH_PAGE, sp + place) for place in places]


def history(
    timeline: Timeline,
    host: Host,
    operation: int,
    seen: Sequence[Seen],
    most: int,
    table: int | None = None,
) -> tuple[Turn, ...]:
    """The latest ``most`` operations before ``operation`` that changed these words.

    With ``table``, only while the pages shadowed that frame: a page that is zapped is used again
    for another table.
    """
    by_operation: dict[int, list[Change]] = {}
    for change in changes_before(timeline, operation, seen, most):
        if table is not None and change.words[watching.GFN] != table:
            continue
        by_operation.setdefault(change.operation, []).append(change)
    return tuple(_turn(changes, notation(host)) for _, changes in sorted(by_operation.items()))


def _turn(changes: Sequence[Change], named: Notation) -> Turn:
    first = changes[0]
    done = tell.operation_text(*first.words[watching.KIND : watching.B + 1])
    told = [_changed(change, named) for change in changes]
    return Turn(first.operation, first.words[watching.EVENT], done, tuple(dict.fromkeys(told)))


def _changed(change: Change, named: Notation) -> str:
    """One change in words."""
    array, place = change.seen
    old, new = change.words[watching.OLD], change.words[watching.NEW]
    table, word = change.words[watching.GFN], place & (words.PAGE_WORDS - 1)
    if array == au.WATCH_PAGE and word == words.ROLE:
        if old ^ new == words.ROLE_INVALID:
            state = "became invalid" if new & words.ROLE_INVALID else "is valid again"
            return f"table {Word(table)}: the page {role_text(old, named)} {state}"
        # Any other change of a role is a page that is used anew, for this table.
        return f"table {Word(table)}: a page is made, {role_text(new, named)}"
    if array == au.WATCH_PAGE and word == words.PARENTS:
        how = "another entry links to it, or one of several no longer does"
        if not old or not new:
            how = "the first entry links to it" if new else "no entry links to it any more"
        elif old > 0 > new:
            how = "a second entry links to it"
        elif new > 0 > old:
            how = "only one entry still links to it"
        return f"table {Word(table)}: {how}"
    step = step_of(array, array << au.WATCH_SHIFT | place, change.words)
    return step.text.partition(": ")[2]
