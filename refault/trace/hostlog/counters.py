"""Counters that a host kept: files of kvm_stat, debugfs and `perf stat`, as numbers by name.

A file is recognised by its lines, whatever it is called; a copied folder of debugfs is read too.
Of several guests none is chosen: whose numbers they are is for the user to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from refault.errors import ImportFailed
from refault.printable import printable
from refault.trace.importers.source import open_source

MAX_BYTES: Final = 4 << 20
MAX_COUNTERS: Final = 4096
_COUNTER_BYTES: Final = 32
_MAX_VALUE: Final = 1 << 64
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]")
# Marks between thousands by locale: of these, a narrow and a plain space that does not break.
_NUMBER: Final = r"\d[\d.,'\u2019\u202f\u00a0]{0,40}"
_MARK: Final = re.compile(r"([.,'\u2019\u202f\u00a0])")
# perf's -A, --per-socket, --per-core, --per-die and --per-node: where, and for the last how many.
_WHERE: Final = r"(?:CPU\d{1,5}|[SN]\d{1,5}(?:-[A-Z]\d{1,5}){0,3})"
_PERF: Final = re.compile(
    rf"^[ \t]*(?:\d{{1,12}}[.,]\d{{9}}[ \t]+)?(?:{_WHERE}[ \t]+(?:\d{{1,5}}[ \t]+)?)?({_NUMBER})"
    r"[ \t]+kvm\w{0,20}:(\w{1,80})",
    re.MULTILINE,
)
_PERF_FIELDS: Final = re.compile(
    rf"^(?:[ \t]*\d{{1,12}}\.\d{{1,9}}[,;|:\t])?"
    rf"(?:{_WHERE}[,;|:\t](?:\d{{1,5}}[,;|:\t])?)?(\d[\d.]{{0,40}})"
    r"[,;|:\t][^,;|:\t\n]{0,20}[,;|:\t]kvm\w{0,20}:(\w{1,80})",
    re.MULTILINE,
)
_RUN: Final = re.compile(r"^[ \t]*Performance counter stats for ", re.MULTILINE)
# Before 2020 without the time.
_LOGGED: Final = re.compile(
    r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)?((?:[ \t]+\d{1,20}){1,4096})[ \t]*"
)
_DEBUGFS: Final = re.compile(
    r"^(?P<folder>[^\s:]{0,400}/)?(?P<name>[a-z_]\w{0,80})[:=]?[ \t]*(?P<value>\d{1,20})$"
)
_TITLE: Final = re.compile(r"^==> (?:(?P<folder>\S{1,400})/)?(?P<name>[a-z_]\w{0,80}) <==$")
_STAT: Final = re.compile(
    r"^[ \t]*([a-z]\w{0,80}(?:\([\w ]{1,60}\))?)[ \t]+(\d{1,20})(?:[ \t]+[\d.]{1,20}){1,2}[ \t]*$",
    re.MULTILINE,
)
_COLUMN: Final = re.compile(r"[a-z]\w{0,80}(?:\(\w{1,60}\))?")
_GUEST: Final = re.compile(r"(?:^|/)(\d{1,10}-\d{1,10})/?$")
_NESTED: Final = re.compile(r"kvm_exit\((?:EPT_\w+|npf|NPF)\)")

Values = dict[str, int]


class CounterFile(NamedTuple):
    """What a file holds: which tool wrote it, and its counters in its order."""

    form: str
    values: Values


def read_counters(path: Path) -> CounterFile:
    """The counters of a file.

    Raises:
        ImportFailed: it cannot be opened, holds none, or those of several guests.
    """
    if path.is_dir():
        data = _folder_text(path).encode()
    else:
        with open_source(path) as source:
            data = source.read_exactly(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ImportFailed(f"{path}: a list of counters has at most {MAX_BYTES} bytes")
    text = _ESCAPES.sub("", data.decode("utf-8", "replace")).replace("\r", "")
    for form, read in _FORMS:
        values = read(path, text)
        if values:
            _refuse_nested(path, values)
            return CounterFile(form, dict(list(values.items())[:MAX_COUNTERS]))
    raise ImportFailed(
        f"{path}: no counters of kvm_stat, debugfs or perf stat; make such a file by "
        "`kvm_stat -1`, `grep . /sys/kernel/debug/kvm/PID-FD/*` or `perf stat -e 'kvmmmu:*'`, or "
        "name a copy of the folder /sys/kernel/debug/kvm/PID-FD"
    )


def _folder_text(folder: Path) -> str:
    """A copy of a folder of debugfs, of one guest or of all, as grep would print it."""
    lines: list[str] = []
    try:
        inside = sorted(folder.iterdir())[:MAX_COUNTERS]
        guests = [each for each in inside if each.is_dir() and _GUEST.search(each.name)]
        for place in (folder, *guests):
            for file in sorted(place.iterdir())[:MAX_COUNTERS]:
                if file.is_file() and not file.is_symlink():
                    with file.open("rb") as opened:
                        text = opened.read(_COUNTER_BYTES).strip().decode("ascii", "replace")
                    if text.isdecimal():
                        lines.append(f"{place.name}/{file.name}:{text}\n")
    except OSError as error:
        raise ImportFailed(f"{folder} cannot be read: {error.strerror}") from error
    return "".join(lines)


def _refuse_nested(path: Path, values: Values) -> None:
    for name, value in values.items():
        if value and _NESTED.fullmatch(name):
            raise ImportFailed(
                f"{path}: {name} {value}: these are counters of a host with EPT or NPT on, which "
                "say nothing of shadow paging; load kvm_intel with ept=0 or kvm_amd with npt=0"
            )


def _perf(path: Path, text: str) -> Values:
    """`perf stat`, also by intervals (-I), whose counts are added up."""
    if len(_RUN.findall(text)) > 1:
        raise ImportFailed(f"{path}: several runs of perf stat; keep the lines of one")
    return _sums((name, _whole(path, value, name)) for value, name in _PERF.findall(text))


def _perf_fields(path: Path, text: str) -> Values:
    """`perf stat -x,`."""
    return _sums((name, _whole(path, value, name)) for value, name in _PERF_FIELDS.findall(text))


def _perf_json(path: Path, text: str) -> Values:
    """`perf stat -j`: one object a line."""
    del path
    return _sums(_of_json(text))


def _of_json(text: str) -> Iterator[tuple[str, int | None]]:
    for line in text.splitlines():
        if not line.lstrip().startswith("{") or "counter-value" not in line:
            continue
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            continue
        event = str(told.get("event", "")) if isinstance(told, dict) else ""
        if event.startswith("kvm") and ":" in event:
            yield event.split(":")[1], _number(str(told["counter-value"])[:40])


def _sums(pairs: Iterator[tuple[str, int | None]]) -> Values:
    values: Values = {}
    for name, value in pairs:
        if value is not None:
            values[name] = min(values.get(name, 0) + value, _MAX_VALUE)
    return values


def _debugfs(path: Path, text: str) -> Values:
    """Files of /sys/kernel/debug/kvm, printed by grep, head, tail or a loop."""
    by_folder: dict[str, Values] = {}
    titled: tuple[str, str] | None = None
    for line in text.splitlines():
        if title := _TITLE.match(line):
            titled = (title["folder"] or "").rstrip("/"), title["name"]
            continue
        if titled is not None and line.strip().isdecimal():
            by_folder.setdefault(titled[0], {})[titled[1]] = int(line.strip()[:20])
        elif found := _DEBUGFS.match(line):
            folder = (found["folder"] or "").rstrip("/")
            by_folder.setdefault(folder, {})[found["name"]] = int(found["value"])
        titled = None
    by_folder = {name: each for name, each in by_folder.items() if "/vcpu" not in name}
    guests = {name: each for name, each in by_folder.items() if _GUEST.search(name)}
    if len(guests) > 1:
        raise ImportFailed(
            f"{path}: counters of {len(guests)} guests ({', '.join(sorted(guests)[:4])}); keep the "
            "lines of one"
        )
    found_values = [*guests.values(), *by_folder.values()]
    return found_values[0] if found_values else {}


def _kvm_stat(path: Path, text: str) -> Values:
    """The table of kvm_stat, of today or of 2010: name, total, and rates; the last one counts."""
    del path
    return {name: int(value) for name, value in _STAT.findall(text)}


def _kvm_stat_fields(path: Path, text: str) -> Values:
    """`kvm_stat -c -l`: a head of names, then a line of increments each second."""
    del path
    head: list[str] = []
    values: Values = {}
    for line in text.splitlines():
        words = line.split(",")
        if words[0].strip().lower() == "timestamp":
            head = [word.strip() for word in words[1:MAX_COUNTERS]]
        elif head and len(words) == len(head) + 1:
            for name, word in zip(head, words[1:], strict=True):
                if word.strip().isdecimal():
                    values[name] = values.get(name, 0) + int(word.strip()[:20])
    return values


def _kvm_stat_log(path: Path, text: str) -> Values:
    """`kvm_stat -l`: names with a space behind each, then the increments of each second."""
    del path
    names: list[str] = []
    values: Values = {}
    for line in text.splitlines():
        words = line.split()
        if logged := _LOGGED.fullmatch(line):
            numbers = logged[1].split()
            if len(numbers) == len(names):
                for name, number in zip(names, numbers, strict=True):
                    values[name] = values.get(name, 0) + int(number)
        elif words and line.endswith(" ") and all(map(_COLUMN.fullmatch, words)):
            names = words[:MAX_COUNTERS]
    return values


def _whole(path: Path, word: str, name: str) -> int:
    """A count that must be one: of a sum nothing may be missing."""
    number = _number(word)
    if number is None:
        raise ImportFailed(
            f"{path}: the count of {name} is {printable(word)}, which is no number; write the "
            "file again, with LC_ALL=C"
        )
    return number


def _number(word: str) -> int | None:
    """A count with or without marks between its thousands; None if it is no number.

    A mean of several runs (perf's -r) has a fraction, which is cut off.
    """
    parts = _MARK.split(word)
    digits, marks = parts[0::2], parts[1::2]
    if not all(map(str.isdecimal, digits)):
        return None
    if marks and not _are_thousands(digits, marks):
        digits, marks = digits[:-1], marks[:-1]
        if marks and not _are_thousands(digits, marks):
            return None
    return min(int("".join(digits)), _MAX_VALUE)


def _are_thousands(digits: list[str], marks: list[str]) -> bool:
    """Whether the groups are of three digits, or of two and then three as in India."""
    between = all(len(each) in {2, 3} for each in digits[1:-1])
    return len(set(marks)) == 1 and len(digits[0]) <= 3 and between and len(digits[-1]) == 3


_FORMS: Final[tuple[tuple[str, Callable[[Path, str], Values]], ...]] = (
    ("perf stat", _perf_json),
    ("perf stat", _perf_fields),
    ("perf stat", _perf),
    ("kvm_stat", _kvm_stat_fields),
    ("kvm_stat", _kvm_stat_log),
    ("kvm_stat", _kvm_stat),
    ("debugfs", _debugfs),
)
