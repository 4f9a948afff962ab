"""Whether a bundle is what it says: files, results, verdicts, pages."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping

from refault.bundle import charts, layout
from refault.bundle.fields import shown
from refault.bundle.head import Head
from refault.bundle.reader import Bundle, Manifest
from refault.bundle.writer import BundleWriter, verdicts_of
from refault.compare import Comparison
from refault.errors import BundleError, ComparisonError

PROBLEMS_MAX = 50


@dataclasses.dataclass(slots=True)
class Checked:
    """What was found. ``problems`` are empty where the bundle is sound; the first 50 are kept.

    ``has_same_maker`` says whether this program is what made the pages, so that they were made
    again and compared byte by byte.
    """

    head: Head
    made_by: str
    has_same_maker: bool
    is_signed: bool
    files: int = 0
    traces: int = 0
    cells: int = 0
    results: int = 0
    captures: int = 0
    charts: int = 0
    verdict: str = ""
    exit_code: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)
    problem_count: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem_count

    def note(self, problem: str) -> None:
        """One more that is wrong."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


def verify(bundle: Bundle) -> Checked:
    """Everything that can be checked of a bundle without the service.

    Every file against SHA256SUMS; every result against its own digest and its cell; every verdict
    against the one that this program reaches from the results; and, where this program is the one
    that made them, pages and tables against those that it makes of the results.

    Raises:
        BundleError: it cannot be read as a bundle at all.
    """
    manifest = bundle.manifest()
    checked = Checked(
        head=manifest.head,
        made_by=manifest.made_by,
        has_same_maker=manifest.made_by == layout.maker(),
        is_signed=layout.SIGNATURE in bundle.files,
    )
    sums = _check_files(bundle, checked)
    made = _made_again(bundle, manifest, checked)
    if made is not None and checked.has_same_maker:
        for name, digest in made.items():
            if sums.get(name) != digest:
                checked.note(f"{name}: not what its results give")
        for name in sorted(set(sums) - set(made)):
            checked.note(f"{name}: no bundle has such a file")
    _check_captures(bundle, manifest, checked)
    return checked


def _check_files(bundle: Bundle, checked: Checked) -> dict[str, str]:
    sums = bundle.sums()
    outside = {layout.SUMS, layout.SIGNATURE}
    for name in bundle.files:
        if name in outside or name.startswith(layout.CAPTURES):
            continue
        checked.files += 1
        if name not in sums:
            checked.note(f"{name}: not in {layout.SUMS}")
            continue
        try:
            digest = _sha256(bundle, name)
        except BundleError as error:
            checked.note(str(error))
            continue
        if digest != sums[name]:
            checked.note(f"{name}: its sha256 is {digest[:12]}, not {sums[name][:12]}")
    for name in sums:
        if name not in bundle.files:
            checked.note(f"{name}: in {layout.SUMS}, and not there")
    return sums


def _made_again(bundle: Bundle, manifest: Manifest, checked: Checked) -> dict[str, str] | None:
    """The sums of a bundle of the same results; None if they cannot be read."""
    writer = BundleWriter(None, manifest.head, functools.partial(_chart, bundle, checked))
    results: set[str] = set()
    is_whole = True
    for name, digest, told, verdicts, limits in manifest.traces():
        checked.traces += 1
        try:
            cells = manifest.cells(digest, told)
            comparison = writer.add(name, digest, cells, limits)
        except (BundleError, ComparisonError) as error:
            checked.note(f"{name}: {error}")
            is_whole = False
            continue
        checked.cells += len(cells)
        results |= {cell.result.digest for cell in cells if cell.result is not None}
        _check_verdicts(comparison, verdicts, checked)
    checked.results = len(results)
    if not is_whole:
        return None
    try:
        writer.close()
    except (BundleError, ComparisonError) as error:
        checked.note(f"no pages can be made of its results: {error}")
        return None
    overall = writer.judged.overall.to_dict()
    checked.verdict, checked.exit_code = str(overall["title"]), int(overall["exit_code"])
    told_overall = manifest.verdict
    if not isinstance(told_overall, dict) or told_overall.get("status") != overall["status"]:
        checked.note(f"the verdict on the batch is {overall['title']}, and the bundle says another")
    return writer.sums


def _chart(
    bundle: Bundle, checked: Checked, number: int, _document: Mapping[str, object]
) -> str | None:
    """The chart as it is inside: what draws is not at hand."""
    name = layout.chart_of(number)
    if name not in bundle.files:
        return None
    try:
        svg = charts.checked(bundle.read(name).decode(), name)
    except UnicodeDecodeError:
        checked.note(f"{name}: not a drawing: no UTF-8")
        return None
    except BundleError as error:
        checked.note(str(error))
        return None
    checked.charts += 1
    return svg


def _check_verdicts(comparison: Comparison, told: object, checked: Checked) -> None:
    trace = comparison.trace.name
    # Labels are no keys: two columns may have one, and be different machines.
    said: dict[tuple[str, str], object] = {}
    for entry in told if isinstance(told, list) else []:
        fields = entry if isinstance(entry, dict) else {}
        key = str(fields.get("column")), str(fields.get("variant_digest"))
        if key in said:
            checked.note(f"{trace}, {shown(key[0])}: two verdicts on one column")
        said[key] = fields.get("verdict")
    for found in verdicts_of(comparison):
        column, verdict = found["column"], found["verdict"]
        if said.pop((column, found["variant_digest"]), None) != verdict:
            checked.note(
                f"{trace}, {column}: by its results {verdict}, and the bundle says another verdict"
            )
    for column, _ in said:
        checked.note(f"{trace}, {shown(column)}: a verdict on no column")


def _check_captures(bundle: Bundle, manifest: Manifest, checked: Checked) -> None:
    known = set(manifest.digests)
    for name in bundle.files:
        if not name.startswith(layout.CAPTURES):
            continue
        checked.captures += 1
        digest = name.removeprefix(layout.CAPTURES).removesuffix(".rft")
        if digest not in known:
            checked.note(f"{name}: no trace of this bundle")
            continue
        try:
            is_its_own = _sha256(bundle, name) == digest
        except BundleError as error:
            checked.note(str(error))
            continue
        if not is_its_own:
            checked.note(f"{name}: its bytes are not those of its name")


def _sha256(bundle: Bundle, name: str) -> str:
    digest = hashlib.sha256()
    for chunk in bundle.chunks(name):
        digest.update(chunk)
    return digest.hexdigest()
