"""The report as JSON: everything it says, as data."""

from __future__ import annotations

from typing import Any

from refault.audits import Level
from refault.compare import COSTS
from refault.compare.audited import Failure
from refault.thread import commands
from refault.thread.evidence import Cell, finding_of
from refault.thread.review import Answered, FormReview, Found, OwnKernel, Review, Reviewed
from refault.thread.rules import gauge_numbers
from refault.thread.verdicts import mark_of

VERSION = 1


def to_dict(review: Review) -> dict[str, Any]:
    """The whole review; ``mark`` is the word of a form on one trace, addresses are hexadecimal."""
    return {
        "version": VERSION,
        "level": review.level.word,
        "simulators": review.simulators,
        "traces": [
            {
                "name": each.source.name,
                "path": each.source.path,
                "replayed_as": each.source.replayed,
                "digest": each.digest,
                "event_count": each.event_count,
                "witnessed": each.witnessed,
                "is_truncated": each.is_truncated,
            }
            for each in review.traces
        ],
        "patches": [_patch(each, review) for each in review.patches],
        "kernel": None if not review.kernel else _kernel(review),
    }


def _patch(reviewed: Reviewed, review: Review) -> dict[str, Any]:
    topic = reviewed.topic
    paths = [each.source.replayed for each in review.traces]
    return {
        "number": topic.number or None,
        "name": topic.name,
        "title": topic.title,
        "mail": topic.mail.to_dict(),
        "base": topic.base,
        "claim": {
            "text": reviewed.posted.form.claim,
            "standing": reviewed.claim.standing.value,
            "why": reviewed.claim.text,
        },
        "linux_6_12": {"text": topic.today, "settled_by": topic.settled},
        "objections": [_objection(each) for each in reviewed.objections],
        "sampled": _sampled(reviewed) if topic.sampled else None,
        "forms": [_form(each, review.level) for each in reviewed.forms],
        "commands": [
            commands.replay(paths, topic.labels(setting), review.level).words
            for setting in topic.settings
        ],
    }


def _sampled(reviewed: Reviewed) -> dict[str, Any]:
    """The gauge whose course under the base a rule asks for."""
    return {
        "gauge": reviewed.topic.sampled,
        "traces": [
            {
                "trace": cell.trace,
                **gauge_numbers(cell.samples),
                "command": commands.profile(cell).words,
            }
            for cell in reviewed.posted.cells
        ],
    }


def _objection(answered: Answered) -> dict[str, Any]:
    objection, answer = answered
    return {
        "mail": None if objection.mail is None else objection.mail.to_dict(),
        "said": objection.said,
        "standing": answer.standing.value,
        "why": answer.text,
        "shown_by": objection.elsewhere or None,
    }


def _form(review: FormReview, level: Level) -> dict[str, Any]:
    form = review.form
    return {
        "variant": form.text,
        "patch": form.patch or None,
        "title": form.title,
        "who": form.who,
        "claim": form.claim,
        "fate": form.fate,
        "reconstruction": form.reconstruction,
        "verdict": {
            "mark": review.verdict.mark.value,
            "text": review.verdict.word,
            "why": review.verdict.reason,
        },
        "traces": [_cell(cell, level) for cell in review.cells],
        "findings": [_found(found, level) for found in review.found],
    }


def _cell(cell: Cell, level: Level) -> dict[str, Any]:
    first = cell.difference
    return {
        "trace": cell.trace,
        "setting": cell.setting.words,
        "variant": cell.label,
        "mark": mark_of(cell).value,
        "comparison": {"verdict": cell.column.verdict.value, "reason": cell.column.reason},
        "is_same_machine": cell.is_same_machine,
        "is_same_to_guest": cell.column.is_same_to_guest,
        "wrong_accesses": cell.wrong_accesses,
        "stop": cell.stop,
        "base_stop": cell.base_stop,
        "repairs": [_repair(cell, failure, level) for failure in cell.repaired],
        "counters": {
            name: {"base": cell.base_value(name), "value": cell.value(name)}
            for name in COSTS
            if cell.row(name) is not None
        },
        "first_difference": None
        if first is None
        else {
            "operation_index": first.operation_index,
            "event_index": first.event_index,
            "operation": first.operation,
            "base": first.base,
            "here": first.here,
            "command": commands.diverge(cell).words,
        },
    }


def _repair(cell: Cell, failure: Failure, level: Level) -> dict[str, Any]:
    """What the base fails and the form does not: found in the base."""
    base = cell.beside_base
    broken = finding_of(cell.base.audit, failure.check, failure.exception)
    return _found(Found(base, failure, broken), level)


def _found(found: Found, level: Level) -> dict[str, Any]:
    cell, failure, broken = found
    return {
        "trace": cell.trace,
        "variant": cell.label,
        "check": failure.check,
        "exception": failure.exception,
        "places": failure.place_count,
        "finding": None if broken is None else broken.to_dict(),
        "commands": {
            "audit": commands.audit(cell, level).words,
            "inspect": None if broken is None else commands.inspect(cell, broken).words,
        },
    }


def _kernel(review: Review) -> dict[str, Any]:
    return {"name": review.kernel, "traces": [_own(each) for each in review.own]}


def _own(own: OwnKernel) -> dict[str, Any]:
    column = own.comparison.columns[-1]
    return {
        "trace": own.trace,
        "variant": column.variant_names[0],
        "verdict": column.verdict.value,
        "reason": column.reason,
        "counters": {
            row.name: {"base": row.values[0], "value": row.values[-1]}
            for row in own.comparison.counters
        },
    }
