"""The whole path on the demo traces, as a user of the HTTP API."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from refault.catalogue import SEED_SERIES, bases, patch_set_from_text
from refault.client import BatchDocument, Client, RunDocument
from refault.errors import ServiceError
from services.local.progress import Reporter

TRACES = Path(__file__).resolve().parents[2] / "demo" / "traces"
CORPUS = TRACES.with_name("corpus")
#: Guests of other kinds, beside the demo's own, on the page that decides: a database, a guest with
#: PAE tables, and 120 processes on four vCPUs.
OTHER_KINDS = ("sqlite-1cpu", "fork-pae-1cpu", "many-4cpu")
SERIES_NAME = "seed series"
SHARED_DAYS = 7
# What was proposed instead on the list, or would have been needed, beside the series.
ALTERNATIVES = ("p2alt", "p3fix", "p4r")
AUDIT_LEVEL = "flush"
DECIDING_TITLE = "Which of the six patches to merge, and what instead"


@dataclasses.dataclass(frozen=True)
class Shown:
    """The result of the demo."""

    table: str
    page_url: str
    run_count: int
    found_count: int
    digests: tuple[str, ...]

    @property
    def remark(self) -> str:
        """How many of the runs were known already."""
        if self.found_count == self.run_count:
            return (
                f"{self.found_count} of {self.run_count} runs found by digest;"
                " nothing was simulated"
            )
        simulated_count = self.run_count - self.found_count
        return f"{simulated_count} runs simulated, {self.found_count} found by digest"


class DemoFailed(ServiceError):
    """The demo's batch has runs without a result."""


def trace_files(folder: Path = TRACES) -> list[Path]:
    """The demo traces, in the order of the comparison; raises :class:`DemoFailed` without any."""
    found = sorted(folder.glob("*.rft"))
    if not found:
        raise DemoFailed(f"no traces (*.rft) in {folder}: the checkout is incomplete")
    return found


def run(url: str, token: str, report: Reporter, traces: Sequence[Path]) -> Shown:
    """Uploads the traces, submits the seed series, waits, and fetches the comparison.

    Raises:
        ServiceError: the service refused something, cannot be reached, or the batch failed.
    """
    with Client(url, token=token) as client:
        digests = [_upload(client, path, report) for path in traces]
        patch_set = client.create_patch_set(
            SERIES_NAME, base=bases()[0].id, patches=list(SEED_SERIES)
        )
        report.step(f"patch set {SERIES_NAME!r}: {len(patch_set['patches'])} patches")
        batch = client.submit_batch(
            digests, [patch_set["id"]], plan="series", title="The six patches of April 2010"
        )
        _watch(client, batch, report)
        batch = client.get_batch(batch["code"])
        progress = batch["progress"]
        if batch["state"] != "done":
            failed = client.list_runs(batch["code"], state=["failed", "crashed"])
            raise DemoFailed(_failure(batch, failed["items"]))
        return Shown(
            table=client.comparison_text(batch["code"]),
            # A share link, so that the page opens without a login; it shows this batch only.
            page_url=url + client.share_batch(batch["code"], lifetime_days=SHARED_DAYS)["path"],
            run_count=progress["total"],
            found_count=progress["cached"],
            digests=tuple(digests),
        )


def decide(url: str, token: str, report: Reporter, digests: Sequence[str]) -> str:
    """The address of one page that says which patch to merge: audited, the alternatives beside.

    ``digests`` are of traces that the service has; guests of other kinds come from the corpus.

    Raises:
        ServiceError: as :func:`run`.
    """
    base = bases()[0].id
    named = {SERIES_NAME: list(SEED_SERIES)} | {
        name: list(patch_set_from_text(name).patches) for name in ALTERNATIVES
    }
    with Client(url, token=token) as client:
        ids = [
            client.create_patch_set(name, base=base, patches=patches)["id"]
            for name, patches in named.items()
        ]
        others = [path for name in OTHER_KINDS if (path := CORPUS / f"{name}.rft").is_file()]
        shown = [*digests, *(_upload(client, path, report) for path in others)]
        batch = client.submit_batch(
            shown, ids, plan="series", audit=AUDIT_LEVEL, title=DECIDING_TITLE
        )
        _watch(client, batch, report)

        def show(done: int, total: int) -> None:
            report.bar("checking the invariants of every run", done, total)

        client.wait_for_audits(batch["code"], progress=show)
        report.close_bar()
        return url + client.share_batch(batch["code"], lifetime_days=SHARED_DAYS)["path"]


def _upload(client: Client, path: Path, report: Reporter) -> str:
    def show(sent: int, total: int) -> None:
        report.bar(f"uploading {path.name}", sent, total)

    upload = client.upload_trace(path, name=path.stem, progress=show)
    report.close_bar()
    trace = upload.trace
    how = "is there already" if upload.was_present else "uploaded"
    report.step(f"trace {trace['name']} {how}: {trace['event_count']:,} events")
    return trace["digest"]


def _watch(client: Client, batch: BatchDocument, report: Reporter) -> None:
    progress = batch["progress"]
    report.step(
        f"batch {batch['code']}: {len(batch['traces'])} traces × {len(batch['columns'])} columns,"
        f" {progress['total']} runs, {progress['cached']} of them found by digest"
    )
    for event in client.watch_batch(batch["code"]):
        now = event.data["progress"]
        # Cached runs have no events to replay; finished runs have replayed all of theirs.
        total = now.get("events_total") or 0
        if total:
            text = f"replaying, {now['finished']} of {now['total']} runs finished"
            report.bar(text, now.get("events_done") or 0, total)
    report.close_bar()


def _failure(batch: BatchDocument, runs: Sequence[RunDocument]) -> str:
    lines = [f"batch {batch['code']} is {batch['state']}"]
    lines += [
        f"  {run['variant']['name']} on trace {run['trace_digest'][:12]}: {run['error']}"
        for run in runs
    ]
    return "\n".join(lines)
