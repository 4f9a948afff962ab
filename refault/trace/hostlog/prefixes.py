"""What stands before an event's name in a text: who ran, where and when, as many tools print it.

::

    the kernel            comm-tid (tgid) [cpu] flags time:
      latency-format      comm-tid cpu flags time us mark:
      and verbose         comm tid cpu … [microseconds in hex] …ms (+…ms):
      function_graph      time | cpu) comm-tid | … | /* event */
      a dump in its log   [seconds] or a date, then one of the others
    trace-cmd report      the kernel's; buffer: before it, where there are several
    perf script           comm pid/tid [cpu] flags time: period system:

Each part may be missing. After ``kernel/trace/trace_output.c`` of Linux, trace-cmd's
``trace-read.c`` and perf's ``builtin-script.c``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from refault.trace.hostlog.events import UNKNOWN

PREFIX_CHARACTERS: Final = 200
TEXT_CHARACTERS: Final = 4096
_NAME: Final = re.compile(
    r"(?:^|(?<=\s))(?:(?:kvm|kvmmmu|ftrace):)?(kvm_\w{1,60}|tracing_mark_write|print): ?(?=\s|$|\S)"
)
_USUAL_PREFIX: Final = re.compile(
    r"\s*(?:(?:(?P<comm>\S.{0,60}?)(?:-|\s\s*))?(?:\d{1,9}/)?(?P<tid>\d{1,9})\s+)?"
    r"(?:\(\s*[-\d]{1,9}\)\s+)?"
    r"(?:\[(?P<cpu>\d{1,5})\]\s+|(?P<cpu2>\d{1,4})(?=[-a-zA-Z.#]{2}|-0x))?"
    r"(?:[-a-zA-Z0-9.#*+]{2,10}\s+)?"
    r"(?:(?P<seconds>\d{1,20})(?:\.(?P<fraction>\d{1,9}))?(?P<lapse>(?:us)?[ +!#*@$]?):\s*)?"
    r"(?:\([-+]\d{1,18}\)\s+)?"
    r"(?:\d{1,12}\s+)?"
)
# The kernel's option `verbose` beside `latency-format`; the number in brackets is microseconds.
_VERBOSE: Final = re.compile(
    r"\s*\S.{0,40}?\s+(?P<tid>\d{1,9})\s+(?P<cpu>\d{1,5})\s+\d{1,9}\s+[0-9a-f]{8}\s+[0-9a-f]{8}\s+"
    r"\[(?P<us>[0-9a-f]{8,16})\]\s+\d{1,12}\.\d{3}ms \([-+]?\d{1,12}\.\d{3}ms\)\s?:\s+"
)
# Events of the tracer function_graph stand as comments between the calls.
_GRAPH: Final = re.compile(
    r"\s*(?:(?P<seconds>\d{1,12})\.(?P<fraction>\d{1,9}) \|\s*)?(?P<cpu>\d{1,5})\)\s+"
    r"(?:\S[^|/]{0,30}(?:/[^|]{0,20})?-(?P<tid>\d{1,9})\s+\|)?[^/]{0,80}\|\s+/\*\s+"
)
# The same as the first where nothing is missing, which is nearly every line of nearly every log.
_USUAL: Final = re.compile(
    r"\s*[^\s:][^:]{0,60}?-(\d{1,9})\s+\[(\d{1,5})\]\s+(?:[^\s\d]\S{1,9}\s+)?"
    r"(\d{1,12})\.(\d{1,9}): +(kvm_\w{1,60}):(.{0,4096})"
)
# What a log of the kernel, or a journal, puts before each line of a ring buffer dumped into it.
_KERNEL_LOG: Final = re.compile(
    r"(?:<\d{1,3}>|(?:[A-Z][a-z]{2}\s{1,2}\d{1,2} [\d:.]{8,15}|\d{4}-\d\d-\d\dT\S{8,24}) \S{1,64} "
    r"kernel: ?)?(?:\[ *\d{1,8}\.\d{6}\](?:\[ *[TC]\d{1,9}\])? ?)?"
)
# What trace-cmd puts before each line where it reports several files or buffers at once.
_SOURCE: Final = re.compile(
    r"\s*([^\s:]{1,60}): +(?=\S[^:]{0,60}?-\d{1,9}\s+(?:\[\d|\d)|CPU:\d{1,5} \[)"
)
# What perf's -F ip,sym and trace-cmd's --debug put behind an event.
_BEHIND: Final = re.compile(
    r"\s(?:[0-9a-f]{8,16} (?:\S{1,120}\+0x[0-9a-f]{1,16}|\[unknown\]) \([^()\s]{1,200}\)"
    r"|\[\d{1,18}:0x[0-9a-f]{1,16}:\d{1,9}\])$"
)


class Record(NamedTuple):
    """One event of a text: its prefix as numbers, its name, and what stands behind it.

    ``source`` is the file or buffer that trace-cmd says it is of, where it reports several.
    """

    time_ns: int
    cpu: int
    thread: int
    name: str
    text: str
    source: str = ""


def source_of(line: str) -> tuple[str, str]:
    """The file or buffer that a line names, or nothing, and the rest of the line."""
    if found := _SOURCE.match(line):
        return found[1], line[found.end() :]
    return "", line


def usual_record(line: str) -> Record | None:
    """The event of a line whose prefix has all parts; None of any other line."""
    usual = _USUAL.match(line)
    if usual is None:
        return None
    thread, cpu, seconds, fraction, name, text = usual.groups()
    return Record(_time_ns(seconds, fraction), int(cpu), int(thread), name, _clean(text))


def record_of(line: str) -> Record | None:
    """The event that a line begins with, after its prefix if it has one."""
    if (usual := usual_record(line)) is not None:
        return usual
    begin = _KERNEL_LOG.match(line)
    line = line[begin.end() :] if begin is not None else line
    found = _NAME.search(line, 0, PREFIX_CHARACTERS + 80)
    if found is None or found.start() > PREFIX_CHARACTERS:
        return None
    prefix = next(
        (
            match
            for each in (_USUAL_PREFIX, _VERBOSE, _GRAPH)
            if (match := each.fullmatch(line, 0, found.start()))
        ),
        None,
    )
    if prefix is None:
        return None
    told = prefix.groupdict()
    time_ns = _told_time(told)
    if found[1] == "print" and time_ns == UNKNOWN:
        return None  # a word of any text
    text = line[found.end() : found.end() + TEXT_CHARACTERS]
    if prefix.re is _GRAPH:
        text = text.rpartition("*/")[0] or text
    return Record(
        time_ns,
        int(told["cpu"] or told.get("cpu2") or UNKNOWN),
        int(told["tid"] or UNKNOWN),
        found[1],
        _clean(text),
    )


def _told_time(told: dict[str, str | None]) -> int:
    """Nanoseconds, or the clock's own units where a text has no fraction."""
    if us := told.get("us"):
        return int(us, 16) * 1000
    seconds = told.get("seconds")
    if seconds is None:
        return UNKNOWN
    if (told.get("lapse") or "").startswith("us"):
        return int(seconds) * 1000
    return _time_ns(seconds, told["fraction"])


def _time_ns(seconds: str, fraction: str | None) -> int:
    if fraction is None:
        return int(seconds)
    return int(seconds) * 10**9 + int(f"{fraction:0<9}")


def _clean(text: str) -> str:
    text = text.replace("[FAILED TO PARSE]", "").strip()
    return _BEHIND.sub("", text) if text[-1:] in {")", "]"} else text
