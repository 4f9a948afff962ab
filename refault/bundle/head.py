"""What a bundle says of its batch, and of each cell: plain data, read from strangers too."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from refault.audits import AuditReport
from refault.bundle import layout
from refault.bundle.fields import (
    count_of,
    digest_of,
    fields_of,
    index_of,
    list_of,
    shown,
    text_of,
    texts_of,
)
from refault.compare import Column, Limit, Threshold
from refault.compare.notes import PinnedNote
from refault.compare.stages import PlanColumn, PlanSet, Stage, stages_of
from refault.errors import BundleError
from refault.results import RunResult

_STATES = ("queued", "running", "done", "cached", "crashed", "failed", "cancelled")
_LIMITS_MAX = 1_000


@dataclasses.dataclass(frozen=True, slots=True)
class HeadSet:
    """A patch set of the batch; ``parameters`` are canonical JSON.

    ``titles`` are those of the patches where these are numbers only, of a kernel's series.
    """

    name: str
    base: str
    patches: tuple[str, ...]
    parameters: str = "{}"
    titles: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The set as JSON; without titles as before there were any."""
        body = dataclasses.asdict(self) | {
            "patches": list(self.patches),
            "titles": list(self.titles),
        }
        return body if self.titles else {key: body[key] for key in body if key != "titles"}

    @classmethod
    def from_dict(cls, body: object, place: str) -> HeadSet:
        """The set that a manifest has; raises BundleError naming the field that is wrong."""
        fields = fields_of(body, cls, place, "titles")
        patches = list_of(fields.pop("patches"), f"{place}.patches")
        titles = list_of(fields.pop("titles") or [], f"{place}.titles")
        if len(patches) > layout.PATCHES_MAX:
            raise BundleError(f"{place}.patches: a set has at most {layout.PATCHES_MAX:,}")
        if titles and len(titles) != len(patches):
            raise BundleError(f"{place}.titles: {len(titles)} of {len(patches)} patches")
        try:
            is_object = isinstance(json.loads(str(fields["parameters"])), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            raise BundleError(f"{place}.parameters: expected an object of JSON, as text")
        return cls(
            **texts_of(fields, place),
            patches=tuple(text_of(each, f"{place}.patches") for each in patches),
            titles=tuple(text_of(each, f"{place}.titles") for each in titles),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class HeadColumn:
    """A column of the batch; ``text`` is the variant as ``refault replay -v`` takes it.

    ``patch_set`` is the index of its patch set, None where that is not told; ``prefix_length``
    says how many of its patches the column has, None for what the plan says.
    """

    label: str
    variant_digest: str
    variant_name: str
    golden_name: str | None
    engine: str
    text: str
    patch_set: int | None = None
    prefix_length: int | None = None

    @classmethod
    def from_dict(cls, body: object, sets: Sequence[HeadSet], place: str) -> HeadColumn:
        """The column that a manifest has; raises BundleError naming the field that is wrong."""
        fields = fields_of(body, cls, place, "patch_set", "prefix_length")
        patch_set, length = fields.pop("patch_set"), fields.pop("prefix_length")
        if patch_set is not None:
            index_of(patch_set, len(sets), f"{place}.patch_set", "patch sets")
        if length is not None:
            count_of(length, f"{place}.prefix_length")
        texts = texts_of(fields, place, "golden_name")
        return cls(**texts, patch_set=patch_set, prefix_length=length)


@dataclasses.dataclass(frozen=True, slots=True)
class HeadNote:
    """A note on a cell; ``created_at`` as ISO 8601 has it."""

    trace_digest: str
    variant_digest: str
    text: str
    made_by: str | None
    created_at: str

    @classmethod
    def from_dict(cls, body: object, place: str) -> HeadNote:
        """The note that a manifest has; raises BundleError naming the field that is wrong."""
        fields = fields_of(body, cls, place)
        by = fields["made_by"]
        note = cls(
            trace_digest=digest_of(fields["trace_digest"], f"{place}.trace_digest"),
            variant_digest=digest_of(fields["variant_digest"], f"{place}.variant_digest"),
            text=text_of(fields["text"], f"{place}.text", lines=True),
            made_by=None if by is None else text_of(by, f"{place}.made_by"),
            created_at=text_of(fields["created_at"], f"{place}.created_at"),
        )
        try:
            has_zone = datetime.datetime.fromisoformat(note.created_at).tzinfo is not None
        except ValueError:
            has_zone = False
        if not has_zone:
            raise BundleError(f"{place}.created_at: expected a time of ISO 8601 with its zone")
        return note


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
    patch_sets: tuple[HeadSet, ...] = ()
    notes: tuple[HeadNote, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The head as JSON."""
        return dataclasses.asdict(self) | {
            "command": list(self.command),
            "columns": [dataclasses.asdict(column) for column in self.columns],
            "threshold": dataclasses.asdict(self.threshold),
            "patch_sets": [each.to_dict() for each in self.patch_sets],
            "notes": [dataclasses.asdict(note) for note in self.notes],
        }

    @classmethod
    def from_dict(cls, body: object) -> Head:
        """The head ``to_dict()`` made; raises BundleError naming the field that is wrong."""
        fields = fields_of(body, cls, "batch", "patch_sets", "notes")
        sets = [
            HeadSet.from_dict(each, f"batch.patch_sets[{place}]")
            for place, each in enumerate(list_of(fields.pop("patch_sets") or [], "patch_sets"))
        ]
        columns = [
            HeadColumn.from_dict(each, sets, f"batch.columns[{place}]")
            for place, each in enumerate(list_of(fields.pop("columns"), "batch.columns"))
        ]
        notes = list_of(fields.pop("notes") or [], "batch.notes")
        if len(notes) > layout.NOTES_MAX:
            raise BundleError(f"batch.notes: a bundle has at most {layout.NOTES_MAX:,}")
        threshold = _threshold(fields.pop("threshold"))
        command = [
            text_of(word, "batch.command")
            for word in list_of(fields.pop("command"), "batch.command")
        ]
        base = index_of(fields.pop("base"), len(columns), "batch.base", "columns")
        return cls(
            **texts_of(fields, "batch", "finished_at"),
            base=base,
            command=tuple(command),
            columns=tuple(columns),
            threshold=threshold,
            patch_sets=tuple(sets),
            notes=tuple(
                HeadNote.from_dict(each, f"batch.notes[{place}]")
                for place, each in enumerate(notes)
            ),
        )

    def pinned(self, traces: Mapping[str, str]) -> list[PinnedNote]:
        """The notes on cells of these traces, given their names by digest."""
        labels: dict[str, list[str]] = {}
        for column in self.columns:
            labels.setdefault(column.variant_digest, []).append(column.label)
        return [
            PinnedNote(
                ", ".join(dict.fromkeys(labels.get(note.variant_digest, ()))) or None,
                traces[note.trace_digest],
                note.text,
                note.made_by,
                datetime.datetime.fromisoformat(note.created_at),
            )
            for note in self.notes
            if note.trace_digest in traces
        ]

    @property
    def plan_columns(self) -> list[PlanColumn]:
        """The columns as the plan made them; none where a patch set is not told."""
        if any(column.patch_set is None for column in self.columns):
            return []
        sets = [
            PlanSet(each.name, each.base, each.patches, each.parameters, str(place), each.titles)
            for place, each in enumerate(self.patch_sets)
        ]
        return [
            PlanColumn(each.label, each.variant_digest, sets[each.patch_set], each.prefix_length)
            for each in self.columns
            if each.patch_set is not None
        ]

    @property
    def stages(self) -> list[Stage]:
        """The steps of the plan, before they are judged."""
        columns = self.plan_columns
        return stages_of(self.plan, columns) if columns else []


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
    if not isinstance(value, str) or value not in _STATES:
        raise BundleError(f"cell.state: expected one of {', '.join(_STATES)}, got {shown(value)}")
    return value


def _threshold(body: object) -> Threshold:
    fields = fields_of(body, Threshold, "batch.threshold")
    limits = fields["limits"]
    if not isinstance(limits, Mapping) or len(limits) > _LIMITS_MAX:
        raise BundleError(
            f"batch.threshold.limits: expected an object of at most {_LIMITS_MAX} limits"
        )
    return Threshold(
        permille=count_of(fields["permille"], "batch.threshold.permille"),
        # Costs are told apart by it: a division by nothing, or a bound below none, is no rule.
        operations=count_of(fields["operations"], "batch.threshold.operations", least=1),
        limits={
            text_of(name, "batch.threshold.limits"): _limit(limit) for name, limit in limits.items()
        },
    )


def _limit(body: object) -> Limit:
    place = "batch.threshold.limits"
    fields = fields_of(body, Limit, place)
    return Limit(
        **{
            name: None if value is None else count_of(value, f"{place}.{name}")
            for name, value in fields.items()
        }
    )
