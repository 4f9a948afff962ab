"""Writes a bundle, trace by trace, in bounded memory; equal comparisons give equal bytes."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from refault.bundle import charts, layout, pages
from refault.bundle.head import Cell, Head
from refault.bundle.judged import JudgedBatch
from refault.compare import Comparison, to_csv, to_dict, to_markdown, to_text
from refault.compare.notes import notes_text
from refault.errors import BundleError

Draw = Callable[[int, Mapping[str, Any]], str | None]
"""The chart of the trace of that number, given its comparison as JSON."""

# The first moment a zip can name. A bundle tells nothing of when it was made.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644
_UNIX = 3
_LEVEL = 6

_README = """\
{title}

index.html opens in any browser, from this file, without a network.
comparison.txt, where it is there, fits into a mail.

To check that nothing was changed:

    sha256sum -c SHA256SUMS            every file, with what every system has
    refault bundle verify {code}.zip   also every result, and that the verdicts follow from them

Pages and verdicts were made by {maker}.
"""


class BundleWriter:
    """Writes a bundle into a file: :meth:`add` each trace, then :meth:`close`.

    ``sums`` has the digest of every file so far, ``judged`` the verdicts. With ``stream`` None
    nothing is written. ``draw`` gives the chart of a comparison as SVG, or None.
    """

    def __init__(
        self, stream: BinaryIO | None, head: Head, draw: Draw = lambda _number, _document: None
    ) -> None:
        self.sums: dict[str, str] = {}
        self.judged = JudgedBatch(head)
        self._draw = draw
        self._head = head
        self._folder = layout.folder_of(head.code)
        self._zip = None if stream is None else zipfile.ZipFile(stream, "w")
        self._total_bytes = 0
        self._cells = 0
        self._traces: list[dict[str, Any]] = []
        self._comparisons: list[Comparison] = []
        self._names: dict[str, str] = {}
        self._charts = 0
        readme = _README.format(title=head.title, code=head.code, maker=layout.maker())
        self._write(layout.README, readme)
        self._write(layout.STYLE, pages.STYLE)

    def add(
        self, name: str, digest: str, cells: Sequence[Cell], limits: Sequence[str] = ()
    ) -> Comparison:
        """The next trace with the cell of each column, in the columns' order.

        ``limits`` are sentences of what its numbers cannot say.

        Raises:
            BundleError: the bundle would be too large.
            ComparisonError: the cells do not belong into one table.
        """
        self._cells += len(cells)
        if self._cells > layout.CELLS_MAX:
            raise BundleError(
                f"a bundle has at most {layout.CELLS_MAX:,} cells: take one trace of the batch "
                "(?trace=DIGEST), or submit fewer at once"
            )
        comparison = self.judged.add(name, digest, cells, limits)
        entry = {
            "name": name,
            "digest": digest,
            "limits": list(limits),
            "cells": [self._cell(cell) for cell in cells],
        }
        self._traces.append(entry | {"verdicts": verdicts_of(comparison)})
        if self._cells <= layout.WHOLE_CELLS:
            self._comparisons.append(comparison)
        self._names.setdefault(digest, name)
        number, document = len(self._traces), to_dict(comparison)
        svg = self._drawn(number, document)
        notes = self._head.pinned({digest: name})
        page = pages.trace_page(self._head, comparison, notes, svg and layout.chart_of(number))
        self._write(layout.page_of(number), page)
        text = json.dumps(document, ensure_ascii=False, indent=1)
        self._write(layout.page_of(number).replace(".html", ".json"), text + "\n")
        return comparison

    def _drawn(self, number: int, document: dict[str, Any]) -> str | None:
        if self._charts >= layout.CHARTS_MAX or not charts.is_charted(document):
            return None
        svg = self._draw(number, document)
        if svg is not None:
            self._charts += 1
            self._write(layout.chart_of(number), svg)
        return svg

    def close(self) -> None:
        """Write what covers all traces, the manifest and the sums.

        Raises:
            BundleError: the bundle would be too large.
            ComparisonError: it has no trace.
        """
        head, overall, steps = self._head, self.judged.overall, self.judged.steps
        pairs = self.judged.interactions
        has_whole = self._cells <= layout.WHOLE_CELLS
        notes = head.pinned(self._names)
        if has_whole:
            every = self._comparisons
            told: dict[str, Any] = {
                "title": head.title,
                "command": head.command,
                "verdict": overall,
                "plan": head.plan,
                "steps": steps,
                "interactions": pairs,
            }
            text, markdown = to_text(every, **told), to_markdown(every, **told)
            self._write("comparison.txt", text + notes_text(notes))
            self._write("comparison.md", markdown + notes_text(notes))
            self._write("comparison.csv", to_csv(every))
        self._write(
            layout.INDEX,
            pages.index_page(
                head,
                self.judged.traces,
                overall,
                pages.Told(steps, pairs, notes),
                has_whole=has_whole,
            ),
        )
        manifest = {
            "format": layout.FORMAT,
            "version": layout.VERSION
            if any(each.titles for each in head.patch_sets)
            else layout.UNTITLED_VERSION,
            "made_by": layout.maker(),
            "batch": head.to_dict(),
            "traces": self._traces,
            "verdict": overall.to_dict(),
        }
        self._write(layout.MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")
        sums = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.sums.items()))
        self._put(layout.SUMS, sums.encode())
        if self._zip is not None:
            self._zip.close()

    def _cell(self, cell: Cell) -> dict[str, Any]:
        result, audit = cell.result, cell.audit
        return {
            "state": cell.state,
            "error": cell.error,
            "alarm": cell.alarm,
            "result": None
            if result is None
            else self._kept(layout.RESULTS, result.digest, result.to_dict()),
            "audit": None
            if audit is None
            else self._kept(layout.AUDITS, audit.digest, audit.to_dict()),
        }

    def _kept(self, folder: str, digest: str, document: dict[str, Any]) -> str:
        """Writes what its own digest names, once."""
        name = f"{folder}{digest}.json"
        if name not in self.sums:
            self._write(name, json.dumps(document, ensure_ascii=False, indent=1) + "\n")
        return digest

    def _write(self, name: str, text: str) -> None:
        data = text.encode()
        self._total_bytes += len(data)
        if self._total_bytes > layout.TOTAL_BYTES_MAX or len(data) > layout.FILE_BYTES_MAX:
            raise BundleError(
                f"a bundle has at most {layout.TOTAL_BYTES_MAX >> 20} MiB unpacked: take one "
                "trace of the batch (?trace=DIGEST)"
            )
        self.sums[name] = hashlib.sha256(data).hexdigest()
        self._put(name, data)

    def _put(self, name: str, data: bytes) -> None:
        if self._zip is not None:
            self._zip.writestr(entry_of(f"{self._folder}/{name}"), data, compresslevel=_LEVEL)


def entry_of(name: str) -> zipfile.ZipInfo:
    """An entry of a bundle: the same on every machine and at any time."""
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = _UNIX
    entry.external_attr = _FILE_MODE << 16
    return entry


def verdicts_of(comparison: Comparison) -> list[dict[str, Any]]:
    """The verdicts on one trace, the base first, as the manifest has them."""
    return [
        {
            "column": column.label,
            "variant_digest": column.variant_digest,
            "verdict": column.verdict.value,
            "reason": column.reason,
        }
        for column in comparison.columns
    ]
