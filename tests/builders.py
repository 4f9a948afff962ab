"""Values for tests, with what matters to the test given and the rest plausible."""

import dataclasses
import hashlib

from db import session
from db.models import FIRST_PROJECT
from db.repositories import results
from db.shards import claiming, leases, recording
from db.shards.recording import Computed
from refault.attribution import Attribution, Part
from refault.audits import AuditReport, Broken
from refault.catalogue import SEED_SERIES, PatchSet, prefix_label, prefixes, resolve
from refault.compare import Column
from refault.results import COUNTERS, SEMANTICS, Finding, RunResult
from refault.timeline import Timeline


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def put_blob(blobs, data: bytes) -> str:
    """Stores the bytes; their digest."""
    with blobs.receive() as incoming:
        incoming.write(data)
        incoming.keep(hashlib.sha256(data).hexdigest())
    return incoming.kept_as


def make_finding(**given) -> Finding:
    fields = {
        "kind": "missed-fault",
        "event_index": 1_412_874,
        "operation_index": 1_302_744,
        "vcpu": 0,
        "gva": 0x7FC8_AA72_0000,
        "got": 0x29E_6000,
        "want": 6,
        "message": "st user reached 0x29e6000; real guest: #PF 6",
    }
    return Finding(**(fields | given))


def make_broken(check, *, operation_index=12, count=1, exception=None, **given) -> Broken:
    """A check that failed at one place, unless told otherwise."""
    fields = {
        "check": check,
        "event_index": operation_index + 30,
        "operation_index": operation_index,
        "operation": "unmap gfn 0x300",
        "vcpu": None,
        "address": 0x300,
        "address_kind": "gfn",
        "got": "a leaf maps it",
        "want": "no leaf",
        "count": count,
        "exception": exception,
    }
    return Broken(**(fields | given))


def make_report(*broken, variant="base", trace="linux61-boot-1cpu", **given) -> AuditReport:
    """The audit of a run that ended; each of ``broken`` is a finding, or the name of a check."""
    fields = {
        "trace_digest": digest_of(trace),
        "variant_digest": digest_of(variant),
        "variant_name": variant,
        "simulator_digest": digest_of("simulator"),
        "engine": "shadow",
        "level": "every",
        "operation_count": 1_881_074,
        "sweeps": 1_000,
        "accesses": 1_855_437,
        "broken": tuple(make_broken(e) if isinstance(e, str) else e for e in broken),
    }
    return AuditReport(**(fields | given))


def make_result(
    *,
    trace="linux61-boot-1cpu",
    variant="base",
    simulator="simulator",
    counters=None,
    semantics=None,
    outcomes="as the real guest",
    pages="pages",
    **given,
) -> RunResult:
    """A whole, sound run, unless told otherwise; texts become digests."""
    fields = {
        "trace_digest": digest_of(trace),
        "variant_digest": digest_of(variant),
        "simulator_digest": digest_of(simulator),
        "event_count": 2_000_000,
        "operation_count": 1_881_074,
        "instruction_count": 2_345_678_901,
        "truncated": False,
        "counters": BOOT["base"] | (counters or {}),
        "semantics": dict.fromkeys(SEMANTICS, 0)
        | {"accesses": 1_855_437, "witnessed": 1_855_437}
        | (semantics or {}),
        "findings": (),
        "finding_count": len(given.get("findings", ())),
        "stopped": None,
        "outcome_digest": digest_of(outcomes),
        "page_digest": digest_of(pages),
        "skipped": {},
    }
    return RunResult(**(fields | given))


def _counters(numbers: str) -> dict[str, int]:
    return dict(zip(COUNTERS, map(int, numbers.split()), strict=True))


#: The final counters of the real kernel code (golden results, page limit ``def``), by variant.
WORKLOAD = {
    "base": _counters(
        "32724 14610 8217 3451 2474 7363 0 5809 1554 0 2579 16 1 0 1205 1310 105 9728 0 1515 47334 "
        "23005 4679"
    ),
    "p3": _counters(
        "32724 14610 8217 3451 2474 7363 0 5809 1554 0 2579 16 1 0 1205 1310 105 9728 0 1515 47334 "
        "23005 4431"
    ),
    "series": _counters(
        "33662 14610 8065 3451 2480 7363 0 5809 1554 0 2575 4 1 0 1215 1310 95 10262 0 1678 48272 "
        "23211 3317"
    ),
}
BOOT = {
    "base": _counters(
        "80594 15591 15719 3809 6094 7902 18 5618 2419 0 5275 19 1 0 1109 1310 201 22222 1020 "
        "10454 96185 40946 31541"
    ),
    "p3": _counters(
        "80393 15559 15614 3809 6062 7902 18 5618 2419 0 5243 19 1 0 1109 1310 201 22022 1020 "
        "10317 95952 40673 30534"
    ),
    "series": _counters(
        "98756 15591 8347 3809 13184 7889 0 5520 2408 0 12346 3 1 0 1128 1310 182 38626 1020 "
        "10659 114347 42686 12158"
    ),
}
#: The operations and witnessed accesses of each.
SIZES = {
    "linux61-workload-1cpu": (1_095_269, 1_081_371),
    "linux61-boot-1cpu": (1_881_074, 1_855_437),
}
MISLED = {"wrong_address": 32, "missed_fault": 32, "stale": 64}


def seed_series_columns(trace: str) -> list[Column]:
    """The seed series on a capture, one column a prefix, with the real code's counters.

    Patches 1 to 4 together were never run on the real code: there the numbers are p3's.
    """
    return [_seed_column(trace, prefix) for prefix in prefixes(PatchSet(patches=SEED_SERIES))]


def _seed_column(trace: str, prefix: PatchSet) -> Column:
    variant = resolve(prefix)
    golden = variant.golden_name or "p3"
    counters = (WORKLOAD if "workload" in trace else BOOT)[{"p2": "base"}.get(golden, golden)]
    is_misled = golden == "p3" and "boot" in trace
    operations, accesses = SIZES[trace]
    result = make_result(
        trace=trace,
        counters=counters,
        semantics={"accesses": accesses, "witnessed": accesses} | (MISLED if is_misled else {}),
        outcomes=f"{trace} misled" if is_misled else trace,
        pages="series" if golden == "series" else "pages",
        operation_count=operations,
        event_count=operations + 40_000,
        findings=(make_finding(),) if is_misled else (),
        finding_count=64 if is_misled else 0,
        skipped={"device accesses": 71_204} if "boot" in trace else {},
    )
    return Column(
        label=prefix_label(prefix),
        variant_name=variant.name,
        golden_name=variant.golden_name,
        result=dataclasses.replace(result, variant_digest=variant.digest),
    )


def make_column(label="p3", result=None, **given) -> Column:
    fields = {
        "label": label,
        "variant_name": f"v2.6.34-pre +{label}" if label != "base" else "v2.6.34-pre",
        "golden_name": label,
        "result": make_result(variant=label) if result is None else result,
    }
    return Column(**(fields | given))


def transaction(engine):
    """A transaction in the project every installation begins with."""
    return session.transaction(engine, FIRST_PROJECT)


def claim_shard(opened, *, worker="w1", worker_pid=1, simulator_digest, lease_seconds=60):
    """The one shard a worker would get first; None if nothing waits."""
    claims = claiming.claim_handful(
        opened,
        worker=worker,
        worker_pid=worker_pid,
        simulators=[simulator_digest],
        lease_seconds=lease_seconds,
        shards_max=1,
    )
    return claims[0] if claims else None


def record_shard(opened, fence, outcomes, *, simulator_digest, **given) -> bool:
    """Records one shard's outcomes; whether its fence still held."""
    given["simulators"] = {"shadow": simulator_digest}
    return recording.record(opened, [Computed(fence, outcomes, 0.5)], **given) == [fence]


def write_result(opened, outcome, *, trace_digest, simulator_digest, **given):
    """Stores one outcome: its row, and whether the alarm was raised."""
    outcomes = [(trace_digest, simulator_digest, outcome)]
    [written] = results.write(opened, outcomes, **given).values()
    return written


def extend_lease(opened, fence, *, lease_seconds=60, events_done=0):
    """A heartbeat of one shard's holder: its grip."""
    progress = {fence.shard_id: events_done}
    return leases.extend(opened, [fence], lease_seconds=lease_seconds, events_done=progress)


def make_timeline(*, trace="boot", marks=(), missing=(), **series) -> Timeline:
    """A timeline counted in events, which are the places of all its kinds."""
    places = {"events": series["events"], "instructions": series["events"]}
    return Timeline(
        trace_digest=digest_of(trace),
        variant_digest=digest_of("variant"),
        simulator_digest=digest_of("simulator"),
        engine="shadow",
        unit="events",
        interval=1,
        series=places | {"operations": series["events"]} | series,
        marks=marks,
        mark_count=len(marks),
        missing=dict(missing),
    )


def make_run_attribution(causes, **given) -> Attribution:
    """An attribution by cause alone; its totals are the sums."""
    totals: dict[str, int] = {}
    for counters in causes.values():
        for name, count in counters.items():
            totals[name] = totals.get(name, 0) + count
    fields = {
        "trace_digest": digest_of("boot"),
        "variant_digest": digest_of("variant"),
        "simulator_digest": digest_of("simulator"),
        "engine": "shadow",
        "totals": totals,
        "views": {"cause": tuple(Part(name, counts) for name, counts in causes.items())},
        "tables": (),
        "table_count": 0,
        "direct": None,
        "other_tables": None,
        "memory": None,
        "missing": {},
    }
    return Attribution(**fields | given)


def make_run_documents(trace_digest, variant_digest, simulator_digest):
    """A timeline and an attribution of one run, as a worker records them: keys and bytes."""
    names = {
        "trace_digest": trace_digest,
        "variant_digest": variant_digest,
        "simulator_digest": simulator_digest,
        "engine": "shadow",
        "missing": {},
    }
    series = dict.fromkeys(("events", "instructions", "operations", "exits"), (0, 10))
    timeline = Timeline(**names, unit="events", interval=1, series=series, marks=(), mark_count=0)
    attribution = Attribution(
        **names,
        totals={"exits": 10},
        views={"cause": (Part("INVLPG", {"exits": 10}),)},
        tables=(),
        table_count=0,
        direct=None,
        other_tables=None,
        memory=None,
    )
    return [(each.key, each.to_bytes()) for each in (timeline, attribution)]
