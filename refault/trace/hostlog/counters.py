"""Counters that a host kept: files of kvm_stat, debugfs and `perf stat`, as numbers by name.

A file is recognised by its lines, whatever it is called. Of several guests none is chosen: whose
numbers they are is for the user to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from refault.errors import ImportFailed
from refault.trace.importers.source import open_source

MAX_BYTES: Final = 4 << 20
MAX_COUNTERS: Final = 4096
_MAX_VALUE: Final = 1 << 64
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]")
_NUMBER: Final = r"[\d.,'\u2019]{1,40}"
_PERF: Final = re.compile(
    rf"^[ \t]*(?:\d{{1,12}}\.\d{{9}}[ \t]+)?({_NUMBER})[ \t]+kvm\w{{0,20}}:(\w{{1,80}})",
    re.MULTILINE,
)
_PERF_FIELDS: Final = re.compile(
    rf"^(?:[ \t]*\d{{1,12}}\.\d{{1,9}}[,;])?({_NUMBER})[,;][^,;\n]{{0,20}}[,;]"
    r"kvm\w{0,20}:(\w{1,80})",
    re.MULTILINE,
)
_DEBUGFS: Final = re.compile(
    r"^(?P<folder>[^\s:]{0,400}/)?(?P<name>[a-z_]\w{0,80})[:=]?[ \t]*(?P<value>\d{1,20})$"
)
_TITLE: Final = re.compile(r"^==> (?:(?P<folder>\S{1,400})/)?(?P<name>[a-z_]\w{0,80}) <==$")
_STAT: Final = re.compile(
    r"^[ \t]*([a-z]\w{0,80}(?:\([\w ]{1,60}\))?)[ \t]+(\d{1,20})(?:[ \t]+[\d.]{1,20}){1,2}[ \t]*$",
    re.MULTILINE,
)
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
        "`kvm_stat -1`, `grep . /sys/kernel/debug/kvm/PID-FD/*` or `perf stat -e 'kvmmmu:*'`"
    )


def _refuse_nested(path: Path, values: Values) -> None:
    for name, value in values.items():
        if value and _NESTED.fullmatch(name):
            raise ImportFailed(
                f"{path}: {name} {value}: these are counters of a host with EPT or NPT on, which "
                "say nothing of shadow paging; load kvm_intel with ept=0 or kvm_amd with npt=0"
            )


def _perf(path: Path, text: str) -> Values:
    """`perf stat`, also by intervals (-I), whose counts are added up."""
    del path
    return _sums((name, _number(value)) for value, name in _PERF.findall(text))


def _perf_fields(path: Path, text: str) -> Values:
    """`perf stat -x,`."""
    del path
    return _sums((name, _number(value)) for value, name in _PERF_FIELDS.findall(text))


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


def _number(word: str) -> int | None:
    """A count with or without marks between its thousands; None if it is no number."""
    if re.fullmatch(r"\d{1,3}(?:([.,'\u2019])\d{3})(?:\1\d{3})*", word):
        return int(re.sub(r"\D", "", word))
    try:
        return min(int(float(word)), _MAX_VALUE)
    except (ValueError, OverflowError):
        return None


_FORMS: Final[tuple[tuple[str, Callable[[Path, str], Values]], ...]] = (
    ("perf stat", _perf_json),
    ("perf stat", _perf_fields),
    ("perf stat", _perf),
    ("kvm_stat", _kvm_stat_fields),
    ("kvm_stat", _kvm_stat),
    ("debugfs", _debugfs),
)
