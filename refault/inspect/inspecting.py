"""What a caller asks of a timeline: the state at a place, of all, of an address, or of a table."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from refault.diverge.guest_walk import MODES, WALK, levels_of
from refault.engines import get_engine
from refault.errors import InvalidParameter, ReplayRefused
from refault.inspect import events, state
from refault.inspect import history as past
from refault.inspect.flushes import last_flushes
from refault.inspect.place import Timeline
from refault.inspect.shelf import Shelf
from refault.replay import x86
from refault.replay.session import warm_up
from refault.results import SHADOW
from refault.trace import TraceReader
from refault.trace.reader import trace_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from refault.catalogue import Variant
    from refault.diverge.position import Row
    from refault.engines.base import Host
    from refault.inspect.place import Place
    from refault.questions import Happening, Where

_CANONICAL = 1 << 47
_SPACE = 1 << 64


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """The state at a place: ``operation_index`` comes next, after ``latest``, before ``upcoming``.

    ``broke`` says where the simulated kernel broke, after which there is nothing. ``changed`` is
    what ``until_change`` or ``until`` found, and ``searched`` says what that was; None if neither
    was asked, or nothing was there. ``is_truncated``: the file ends here, and the trace does not.
    """

    operation_index: int
    latest: Row | None
    upcoming: Row | None
    broke: str | None
    changed: state.Turn | None
    searched: str | None
    is_truncated: bool
    vcpus: tuple[state.Processor, ...]
    summary: state.Summary | None
    address: state.Address | None
    table: state.Table | None
    page: state.Page | None
    history: tuple[state.Turn, ...]


def timeline_of(
    trace: Path, variant: Variant, look: Callable[[], object] = lambda: None
) -> Timeline:
    """The timeline of a variant on a trace; ``look`` is called now and then, and may raise.

    Raises:
        ReplayRefused: its engine cannot replay the trace, or keeps its state to itself.
        TraceError: the trace cannot be read.
    """
    engine = get_engine(variant.engine)
    if engine.name not in (SHADOW, WALK):
        raise ReplayRefused(
            "a kernel of one's own keeps its state in its own process, where nothing reads it; "
            "see what it does by `refault diverge` against a variant of the model"
        )
    with TraceReader(trace, allow_truncated=True) as reader:
        if reason := engine.refuses(reader.header, variant):
            raise ReplayRefused(f"engine {engine.name} cannot replay this: {reason}")
    warm_up([engine.name])
    key = (trace_digest(trace), variant.digest, engine.digest)
    return Timeline(trace, variant, Shelf(key), look)


def look(timeline: Timeline, where: Where) -> View:
    """The state at the place that is asked for.

    Raises:
        InvalidParameter: there is no such place, address, table or vCPU.
    """
    place = _place(timeline, where)
    changed: state.Turn | None = None
    if where.until_change is not None:
        place, changed = _back_to_change(timeline, place, where)
    elif where.happening is not None:
        place, changed = _at_happening(timeline, place, where, where.happening)
    with place:
        return _view(timeline, place, where, changed)


def _place(timeline: Timeline, where: Where) -> Place:
    if where.operation is not None:
        place = timeline.at_operation(where.operation)
    elif where.forward and where.event is None:
        place = timeline.nearest(operation=0)
    else:
        place = timeline.at_event(where.event)
    if not where.back:
        return place
    with place:
        count = place.host.operation_count
    if where.back > count:
        raise InvalidParameter(f"--back {where.back}: there are {count:,} operations before")
    return timeline.at_operation(count - where.back)


def _back_to_change(
    timeline: Timeline, place: Place, where: Where
) -> tuple[Place, state.Turn | None]:
    """The place right after the latest change, or the same place where there was none."""
    with place:
        host, here = place.host, place.host.operation_count
        _check_shadow(host, "--until-change")
        vcpu = _vcpu(host, where)
        gva = _checked_gva(host, vcpu, where.until_change or 0)
        seen = past.entries_of(host, vcpu, gva)
        turns = past.history(timeline, host, here, seen, 1)
    after = turns[-1].operation_index + 1 if turns else here
    return timeline.at_operation(after), turns[-1] if turns else None


def _at_happening(
    timeline: Timeline, place: Place, where: Where, happening: Happening
) -> tuple[Place, state.Turn | None]:
    """The place right after the tracepoint, or the same place where there was none."""
    with place:
        _check_shadow(place.host, "--until")
        here = place.host.operation_count
    search = events.following if where.forward else events.latest
    turn = search(timeline, here, happening)
    return timeline.at_operation(here if turn is None else turn.operation_index + 1), turn


def _searched(where: Where) -> str | None:
    if where.until_change is not None:
        return f"a change of an entry of gva {where.until_change:#x}, before"
    if where.until is not None:
        return f"{where.until}, {'from here on' if where.forward else 'before'}"
    return None


def _check_shadow(host: Host, option: str) -> None:
    if not state.is_shadow(host):
        raise InvalidParameter(f"{option} needs a variant with a shadow MMU")


def _view(timeline: Timeline, place: Place, where: Where, changed: state.Turn | None) -> View:
    host, here = place.host, place.host.operation_count
    vcpu = _vcpu(host, where)
    gva = where.gva if where.gva is not None else where.until_change
    address = table = page = None
    seen = []
    if gva is not None:
        gva = _checked_gva(host, vcpu, gva)
        address = state.address(host, vcpu, gva)
        if state.is_shadow(host):
            seen = past.words_of_address(host, vcpu, gva)
    elif where.gfn is not None:
        _check_shadow(host, "--gfn")
        table = state.table(host, where.gfn)
        if table.reverse_map is None:
            raise InvalidParameter(f"--gfn {where.gfn:#x}: there is no such frame")
        seen = past.words_of_table(host, where.gfn)
    elif where.page is not None:
        _check_shadow(host, "--page")
        page = state.page_numbered(host, where.page)
        seen = past.words_of_page(where.page)
    shown = range(state.vcpu_count(host))
    if where.vcpu is not None or gva is not None:
        shown = range(vcpu, vcpu + 1)
    flushes = last_flushes(timeline, here)
    stopped = host.notes.findings.stopped
    return View(
        operation_index=here,
        latest=place.latest,
        upcoming=None if host.stopped else place.next_row(),
        broke=None if stopped is None else f"{stopped.kind}: {stopped.message}",
        changed=changed,
        searched=_searched(where),
        is_truncated=place.is_truncated_here,
        vcpus=tuple(state.processor(host, each, flushes.get(each)) for each in shown),
        summary=state.summary(host) if not any((address, table, page)) else None,
        address=address,
        table=table,
        page=page,
        history=past.history(timeline, host, here, seen, past.OPERATIONS_SHOWN, where.gfn),
    )


def _vcpu(host: Host, where: Where) -> int:
    vcpu, count = where.vcpu or 0, state.vcpu_count(host)
    wants_one = where.vcpu is not None or where.gva is not None
    if (wants_one or where.until_change is not None) and not 0 <= vcpu < count:
        there = f"there are {count:,}, from 0 on" if count else "there are none yet"
        raise InvalidParameter(f"no vCPU {vcpu}: {there}")
    return vcpu


def _checked_gva(host: Host, vcpu: int, gva: int) -> int:
    """The address, signed as rows have it, if a processor in this mode can use it."""
    if not (0 <= gva < _CANONICAL or _SPACE - _CANONICAL <= gva < _SPACE):
        raise InvalidParameter(f"gva {gva:#x} is not canonical")
    levels = levels_of(host, vcpu)
    if levels != x86.LONG_LEVELS and gva > x86.U32:
        raise InvalidParameter(
            f"gva {gva:#x}: the guest has {MODES[levels]} there, and addresses of 32 bits"
        )
    return gva
