"""What a bundle says of its batch, and of each cell: plain data, read from strangers too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from refault.audits import AuditReport
from refault.bundle.layout import DIGEST
from refault.compare import Column, Limit, Threshold
from refault.errors import BundleError
from refault.printable import first_unprintable
from refault.results import RunResult

_TEXT_MAX = 20_000
_STATES = ("queued", "running", "done", "cached", "crashed", "failed", "cancelled")


@dataclasses.dataclass(frozen=True, slots=True)
class HeadColumn:
    """A column of the batch; ``text`` is the variant as ``refault replay -v`` takes it."""

    label: str
    variant_digest: str
    variant_name: str
    golden_name: str | None
    engine: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """A batch: what stands above its comparison. ``base`` is the index of the base column."""

    code: str
    title: str
    plan: str
    state: str
    created_at: str
    finished_at: str | None
    command: tuple[str, ...]
    base: int
    columns: tuple[HeadColumn, ...]
    threshold: Threshold

    def to_dict(self) -> dict[str, Any]:
        """The head as JSON."""
        return dataclasses.asdict(self) | {
            "command": list(self.command),
            "columns": [dataclasses.asdict(column) for column in self.columns],
            "threshold": dataclasses.asdict(self.threshold),
        }

    @classmethod
    def from_dict(cls, body: object) -> Head:
        """The head ``to_dict()`` made; raises BundleError naming the field that is wrong."""
        fields = fields_of(body, cls, "batch")
        columns = [
            HeadColumn(**texts_of(fields_of(each, HeadColumn, "column"), "column", "golden_name"))
            for each in list_of(fields.pop("columns"), "columns")
        ]
        threshold = _threshold(fields.pop("threshold"))
        command = [text_of(word, "command") for word in list_of(fields.pop("command"), "command")]
        base = fields.pop("base")
        if not isinstance(base, int) or not 0 <= base < len(columns):
            raise BundleError(f"batch.base: {base!r} is no column of {len(columns)}")
        texts = texts_of(fields, "batch", "finished_at")
        return cls(
            **texts,
            base=base,
            command=tuple(command),
            columns=tuple(columns),
            threshold=threshold,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One run of a trace under a column's variant, with its result and audit if there are any."""

    state: str
    error: str | None = None
    alarm: str | None = None
    result: RunResult | None = None
    audit: AuditReport | None = None

    def of(self, column: HeadColumn) -> Column:
        """The cell as a comparison takes it."""
        return Column(
            label=column.label,
            variant_name=column.variant_name,
            golden_name=column.golden_name,
            result=self.result,
            state=self.state,
            variant_digest=column.variant_digest,
            alarm=self.alarm,
            error=self.error,
            engine=column.engine,
            audit=self.audit,
        )


def state_of(value: object) -> str:
    """The state of a run."""
    if value not in _STATES:
        raise BundleError(f"cell.state: expected one of {', '.join(_STATES)}, got {value!r:.60}")
    return str(value)


def digest_of(value: object, place: str) -> str:
    """A sha256 in lower-case hex."""
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise BundleError(f"{place}: expected a sha256 in lower-case hex, got {value!r:.80}")
    return value


def text_of(value: object, place: str) -> str:
    """A printable text of bounded length."""
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise BundleError(f"{place}: expected a text of at most {_TEXT_MAX} characters")
    if first_unprintable(value, lines=True) is not None:
        raise BundleError(f"{place}: the text has unprintable characters")
    return value


def list_of(value: object, place: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise BundleError(f"{place}: expected a list, got {type(value).__name__}")
    return value


def texts_of(fields: Mapping[str, Any], place: str, *optional: str) -> dict[str, Any]:
    """Fields that are all texts; the ``optional`` ones may be null."""
    return {
        name: None if value is None and name in optional else text_of(value, f"{place}.{name}")
        for name, value in fields.items()
    }


def fields_of(body: object, kind: type, place: str) -> dict[str, Any]:
    """The fields of a dataclass, all of them and no other."""
    names = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(body, Mapping) or set(body) != names:
        raise BundleError(f"{place}: expected an object with {', '.join(sorted(names))}")
    return dict(body)


def _threshold(body: object) -> Threshold:
    if not isinstance(body, Mapping) or not isinstance(body.get("limits"), Mapping):
        raise BundleError("threshold: expected an object with limits")
    fields = dict(body)
    limits = fields.pop("limits")
    try:
        return Threshold(
            **{name: int(value) for name, value in fields.items()},
            limits={text_of(name, "limit"): Limit(**limit) for name, limit in limits.items()},
        )
    except (TypeError, ValueError) as error:
        raise BundleError(f"threshold: {error}") from error
