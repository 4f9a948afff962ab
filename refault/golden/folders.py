"""Finding golden cases in a folder: what is replayed, under which variant, against which file.

::

    vectors/   MANIFEST.json   {vector: {"expect": {variant: file}}}
               OPS_FROM        optional: the folder that holds the .ops.jsonl.zst files
    real/      MANIFEST.json   {"trace.limit[-b1].variant": file}
               traces.json     {trace: {"trace": file, "ram_mib": n}}
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from refault.catalogue import Parameters, Schedule
from refault.errors import RefaultError

OPERATIONS_SUFFIX = ".ops.jsonl.zst"


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One run to hold against a file: a vector or a capture under one variant.

    ``reference`` is the result that fills in the addresses and values a vector's
    expectation leaves out; None for a capture.
    """

    name: str
    variant: str
    source: Path
    expectation: Path
    reference: Path | None
    parameters: Parameters
    ram_mib: int = 0

    @property
    def is_capture(self) -> bool:
        """Whether a capture is replayed, judged by what the real guest saw."""
        return self.reference is None


def cases_in(
    folder: Path, *, traces: Path | None = None, variants: Sequence[str] = ()
) -> Iterator[Case]:
    """Every case in a golden folder and in the folders below it, in a stable order.

    ``traces`` is where captures lie (default: the folder itself); ``variants`` keeps
    only those.

    Raises:
        RefaultError: there is no such folder, or a manifest is not what it should be.
    """
    if not folder.is_dir():
        raise RefaultError(f"{folder}: no such folder")
    for manifest in sorted(folder.rglob("MANIFEST.json")):
        captures = manifest.with_name("traces.json")
        found = (
            _captures(manifest, captures, traces or manifest.parent)
            if captures.exists()
            else _vectors(manifest)
        )
        for case in found:
            if not variants or case.variant in variants:
                yield case


def _limit(setting: str, manifest: Path) -> int | Schedule | None:
    """A capture's page limit: ``def`` KVM's own, ``n400`` a fixed one, ``sq`` one that moves."""
    if setting == "def":
        return None
    if setting == "sq":
        return Schedule(first=400, then=64, every=32768)
    if setting.startswith("n") and setting[1:].isdecimal():
        return int(setting[1:])
    raise RefaultError(f"{manifest}: {setting!r} is no page limit; there are def, sq and n400")


def _object(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefaultError(f"{path}: {error}") from error
    if not isinstance(body, dict):
        raise RefaultError(f"{path}: expected an object")
    return body


def _vectors(manifest: Path) -> Iterator[Case]:
    folder = manifest.parent
    inputs = folder
    elsewhere = folder / "OPS_FROM"
    if elsewhere.exists():
        inputs = (folder / elsewhere.read_text(encoding="utf-8").strip()).resolve()
    for name, entry in _object(manifest).items():
        expect = entry.get("expect") if isinstance(entry, dict) else None
        if not isinstance(expect, dict):
            raise RefaultError(f'{manifest}: "{name}" has no "expect" object')
        reference = expect.get("apr_p2" if any(v.startswith("apr") for v in expect) else "p2")
        for variant, file in expect.items():
            yield Case(
                name=name,
                variant=variant,
                source=inputs / f"{name}{OPERATIONS_SUFFIX}",
                expectation=folder / file,
                reference=folder / (reference or file),
                parameters=Parameters(),
            )


def _captures(manifest: Path, captures: Path, traces: Path) -> Iterator[Case]:
    known = _object(captures)
    for key, file in _object(manifest).items():
        name, setting, variant = key.rsplit(".", 2)
        limit, _, bypass = setting.partition("-")
        if name not in known or bypass not in ("", "b1"):
            raise RefaultError(f'{manifest}: "{key}" names no trace that is known here')
        yield Case(
            name=f"{name}.{setting}",
            variant=variant,
            source=traces / known[name]["trace"],
            expectation=manifest.parent / file,
            reference=None,
            parameters=Parameters(page_limit=_limit(limit, manifest), bypass=1 if bypass else 0),
            ram_mib=int(known[name]["ram_mib"]),
        )
