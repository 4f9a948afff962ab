"""One audit as plain text for a kernel engineer: what failed, where, why, and how to see it again.

::

    notifier-index under base (v2.6.34-pre)
    1 check failed in 47 operations: 49 sweeps, 30 accesses, level every

    F-H1  after the host took a frame away no leaf and no live TLB entry
          reaches it, nor writes it once the host's page is read-only
      1 place, first at operation 12 (event 42), gfn 0x300
      operation: unmap gfn 0x300
      is: a leaf maps it
      should be: no leaf
      cause: operation 9 (event 39): …

    Reproduce with: …
"""

from __future__ import annotations

from collections.abc import Sequence

from refault.audits import CHECKS, COST_CHECKS, EXCEPTIONS, AuditReport, Broken
from refault.compare import layout
from refault.compare.layout import counted
from refault.printable import printable

WIDTH = 72
_INDENT = "  "


def report_text(
    report: AuditReport, *, title: str, command: Sequence[str], width: int = WIDTH
) -> str:
    """The audit; ``title`` says of what, ``command`` are the words of what makes it again."""
    heading = layout.wrap(title, width)
    lines = [*heading, "-" * max(map(layout.display_width, heading))]
    lines += layout.wrap(f"{_summary(report)}.", width, indent=_INDENT)
    for text in report.reported:
        told = printable(f"The kernel's own run reports {text}.")
        lines += ["", *layout.wrap(told, width, indent=_INDENT)]
    for check in CHECKS:
        found = [each for each in report.broken if each.check == check]
        if found:
            lines += ["", *_check(check, found, width)]
    if not (report.is_sound and not report.broken):
        lines += ["", "Reproduce with:", "", *layout.shell_command(command, width)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _summary(report: AuditReport) -> str:
    """What was looked at, and whether all of it held."""
    count = len(report.failed)
    told = {0: "no check failed", 1: "1 check failed"}.get(count, f"{count} checks failed")
    text = (
        f"{told}: {counted(report.sweeps, 'sweep')}, {counted(report.accesses, 'access')}; "
        f"level {report.level}, {counted(report.operation_count, 'operation')}"
    )
    if report.unfinished:
        text += f"; {counted(report.unfinished, 'sweep')} ended at their bound of steps"
    if report.stopped is not None:
        text += f"; stopped before the end: {report.stopped}"
    if report.broken and report.is_sound:
        text += "; all of it known exceptions or lost work"
    return text


def _check(check: str, found: Sequence[Broken], width: int) -> list[str]:
    """A failed check with its findings: those with an exception are apart from those without."""
    lines = layout.wrap(CHECKS[check], width, first=f"{check}  ", indent=" " * (len(check) + 2))
    for place, broken in enumerate(found):
        lines += [""] if place else []
        lines += _finding(broken, width)
    return lines


def _finding(broken: Broken, width: int) -> list[str]:
    told = [_where(broken), f"operation: {broken.operation}"]
    told += [f"is: {broken.got}", f"should be: {broken.want}"]
    told += [
        f"cause: operation {step.operation_index} (event {step.event_index}): {step.text}"
        for step in broken.cause
    ]
    if broken.exception is not None:
        sentence = EXCEPTIONS.get(broken.exception)
        told.append(f"known exception {broken.exception}{f': {sentence}' if sentence else ''}")
    elif broken.check in COST_CHECKS:
        told.append("this is lost work: no answer is wrong")
    return [
        line
        for text in told
        for line in layout.wrap(printable(text), width, first=_INDENT, indent=_INDENT * 2)
    ]


def _where(broken: Broken) -> str:
    """How often, and the first place: operation, event, vCPU, address."""
    first = f"first at operation {broken.operation_index} (event {broken.event_index})"
    told = [counted(broken.count, "place"), first]
    if broken.vcpu is not None:
        told.append(f"vCPU {broken.vcpu}")
    if broken.address is not None:
        told.append(f"{broken.address_kind} {broken.address:#x}".lstrip())
    return ", ".join(told)
