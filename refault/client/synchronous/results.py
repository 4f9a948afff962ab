# Generated from refault/client/asynchronous/results.py by `make client`: change it there.
"""What batches came to: their runs and comparisons."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, TypeVar

from refault.client import calls, finding_calls, profile_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.client.documents import Page, RunDocument
    from refault.client.finding_calls import (
        FindingCellDocument,
        FindingGroupDocument,
        Wanted,
    )
    from refault.client.profile_calls import (
        AttributionDocument,
        TimelineDocument,
        TimelinesDocument,
    )
    from refault.client.run_documents import RunDetailDocument

AnswerT = TypeVar("AnswerT")


class BatchResults(abc.ABC):
    """Part of a client, which sends what is described here."""

    @abc.abstractmethod
    def _send(self, call: calls.Call[AnswerT]) -> AnswerT:
        """Ask the service, and read its answer."""

    def list_runs(
        self,
        batch: str,
        *,
        state: Sequence[str] = (),
        trace: str | None = None,
        variant: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[RunDocument]:
        """One page of a batch's runs that fit; trace and variant by digest."""
        call = calls.list_runs(
            batch, state=state, trace=trace, variant=variant, limit=limit, cursor=cursor
        )
        return self._send(call)

    def get_run(self, run: str) -> RunDetailDocument:
        """One run with its result."""
        return self._send(calls.get_run(run))

    def get_timeline(self, run: str) -> TimelineDocument:
        """How a run's counters went over the guest's time: ``refault.timeline.Timeline``."""
        return self._send(profile_calls.get_timeline(run))

    def get_timelines(
        self,
        run: str,
        beside: Sequence[str] = (),
        *,
        counters: Sequence[str] = (),
        view: str | None = None,
        slices: int | None = None,
    ) -> TimelinesDocument:
        """The timelines of a run and of others of its trace, over the same slices of its time."""
        call = profile_calls.get_timelines(run, beside, counters=counters, view=view, slices=slices)
        return self._send(call)

    def get_attribution(self, run: str) -> AttributionDocument:
        """What a run's counters came from: ``refault.attribution.Attribution``."""
        return self._send(profile_calls.get_attribution(run))

    def attribution_text(self, run: str, form: profile_calls.RunForm = "csv") -> str:
        """The same as JSON, as CSV, or as the SVG of a chart."""
        return self._send(profile_calls.attribution_text(run, form))

    def list_findings(
        self, wanted: Wanted | None = None, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[FindingGroupDocument]:
        """One page of what the project's results and audits found, by kind and variant."""
        call = finding_calls.list_findings(wanted or {}, limit=limit, cursor=cursor)
        return self._send(call)

    def list_finding_cells(
        self, wanted: Wanted | None = None, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[FindingCellDocument]:
        """One page of the results and audits behind that, newest first."""
        call = finding_calls.list_finding_cells(wanted or {}, limit=limit, cursor=cursor)
        return self._send(call)

    def comparison(self, batch: str, *, base: int | None = None) -> dict[str, Any]:
        """The comparison of a batch with all its traces, fetched page by page."""
        document = self.comparison_page(batch, base=base)
        comparisons = document["comparisons"]
        while document["next_cursor"] is not None:
            cursor = document["next_cursor"]
            document = self.comparison_page(batch, base=base, cursor=cursor)
            comparisons += document["comparisons"]
        return document | {"comparisons": comparisons}

    def comparison_page(
        self,
        batch: str,
        *,
        base: int | None = None,
        trace: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        costs: str | None = None,
        columns: str | None = None,
    ) -> dict[str, Any]:
        """The verdicts on a batch, and the comparisons of some of its traces, or of one.

        With ``costs`` (``exit:1800,zap:3000`` or ``default``) each has a cost model beside it.
        ``columns`` (``2,5,3``) chooses and orders those beside the base.
        """
        call = calls.comparison_page(
            batch,
            base=base,
            trace=trace,
            limit=limit,
            cursor=cursor,
            costs=costs,
            columns=columns,
        )
        return self._send(call)

    def compare_columns(
        self,
        columns: Sequence[str],
        *,
        base: int | None = None,
        trace: str | None = None,
        cursor: str | None = None,
        costs: str | None = None,
    ) -> dict[str, Any]:
        """Columns of any batches of the project, each named by batch and index: ``b-7k3f:2``.

        They are compared on the traces that all of the batches have.
        """
        return self._send(
            calls.compare_columns(columns, base=base, trace=trace, cursor=cursor, costs=costs)
        )

    def compared_text(
        self,
        columns: Sequence[str],
        *,
        base: int | None = None,
        form: calls.ComparisonFormat = "txt",
        trace: str | None = None,
        costs: str | None = None,
    ) -> str:
        """That comparison as text in one of its forms."""
        return self._send(
            calls.compared_text(columns, base=base, form=form, trace=trace, costs=costs)
        )

    def comparison_text(
        self,
        batch: str,
        *,
        base: int | None = None,
        form: calls.ComparisonFormat = "txt",
        trace: str | None = None,
        theme: str | None = None,
        cursor: str | None = None,
        columns: str | None = None,
        costs: str | None = None,
    ) -> str:
        """The comparison of a batch, or of one trace in it, as text in one of its forms."""
        return self._send(
            calls.comparison_text(
                batch,
                base=base,
                form=form,
                trace=trace,
                theme=theme,
                cursor=cursor,
                columns=columns,
                costs=costs,
            )
        )
