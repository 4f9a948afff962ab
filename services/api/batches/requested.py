"""From the body of a submission to the planned request, with the JSON pointer of every error."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from db.models import PatchSet, Trace
from db.repositories import patch_sets, programs, projects, simulators, traces
from db.scope import project_of
from db.shards import planning
from refault import catalogue
from refault.audits import Level
from refault.errors import CatalogueError, EmptyBatch, InvalidParameter, UnknownBase
from services.api.batches.refusals import refused_variants
from services.api.batches.schemas import Axes, BatchBody
from services.api.errors import PointedError, pointing_at
from services.shared.limits import Limits


def expanded(session: Session, body: BatchBody, limits: Limits) -> planning.Request:
    """The planned request; writes nothing. ``limits`` are the service's.

    Raises:
        PointedError: with the JSON pointers of the errors.
        NoSimulator: no worker has registered one of a requested engine.
    """
    _refuse_empty(body)
    found_traces = _traces(session, body)
    _refuse_too_costly(session, found_traces, limits)
    found_sets = _patch_sets(session, body)
    offered = simulators.current(session)
    try:
        planned = planning.expand(
            traces=found_traces,
            patch_sets=found_sets,
            plan=body.plan,
            axes=_axes(body.axes),
            simulators=offered,
            refused_variants=refused_variants,
            make=programs.resolver(session),
            recompute=body.recompute,
            priority=body.priority,
            audit=None if body.audit is None else Level(body.audit),
        )
    except CatalogueError as error:
        raise PointedError(error, [_place(error)]) from error
    return dataclasses.replace(planned, title=body.title.strip())


def _traces(session: Session, body: BatchBody) -> list[Trace]:
    found = []
    known = traces.find_many(session, body.traces)
    for index, name in enumerate(body.traces):
        with pointing_at(f"/traces/{index}"):
            found.append(known.get(name) or traces.get(session, name))
    if body.trace_query is not None:
        with pointing_at("/trace_query"):
            query = body.trace_query
            wanted = traces.Filter(query.q, tuple(query.tags), query.content)
            matching = traces.matching(session, wanted)
            if not matching:
                raise EmptyBatch("the query matches no trace")
        found += matching
    return found


def _patch_sets(session: Session, body: BatchBody) -> list[PatchSet]:
    found = []
    for index, row_id in enumerate(body.patch_sets):
        with pointing_at(f"/patch_sets/{index}"):
            found.append(patch_sets.get(session, row_id))
    return found


def _refuse_too_costly(session: Session, found: Sequence[Trace], limits: Limits) -> None:
    """Checks the current limits: the trace may have been uploaded under others."""
    limits = limits.within(projects.by_id(session, project_of(session)).shard_seconds)
    with pointing_at("/traces"):
        for trace in found:
            limits.check(f"trace {trace.name}", work=trace.work, memory_bytes=trace.memory_bytes)


def _axes(axes: Axes | None) -> dict[str, Sequence[catalogue.AxisValue]] | None:
    if axes is None:
        return None
    given: dict[str, list[Any]] = {
        name: values for name, values in axes.model_dump().items() if values is not None
    }
    with pointing_at("/axes/page_limit"):
        for place, value in enumerate(given.get("page_limit", [])):
            if isinstance(value, dict):
                given["page_limit"][place] = catalogue.Schedule(**value)
    return {name: tuple(values) for name, values in given.items()}


def _place(error: CatalogueError) -> str:
    """The field an error of the plan is about."""
    if isinstance(error, UnknownBase):
        return "/axes/base"
    if isinstance(error, InvalidParameter):
        if str(error).startswith("audit:"):
            return "/audit"
        field = str(error).partition(":")[0].removeprefix("axes").removeprefix(".")
        field = field.partition(".")[0]
        return f"/axes/{field}" if field in catalogue.AXES else "/axes"
    return "/patch_sets"


def _refuse_empty(body: BatchBody) -> None:
    if not body.traces and body.trace_query is None:
        with pointing_at("/traces"):
            raise EmptyBatch("the batch has nothing to run: name at least one trace")
    if not body.patch_sets:
        with pointing_at("/patch_sets"):
            raise EmptyBatch("the batch has nothing to run: name at least one patch set")
