"""What every read costs, with the largest batch and everything else there is in Postgres.

    python benchmarks/fill.py /tmp/scale && python benchmarks/reads.py /tmp/scale

Every GET route of the OpenAPI document and every page, each asked about the newest batch of
``fill.py``, 200 traces × 40 variants: the 95th percentile of its time, how many queries it makes,
and how far above its beginning the memory of this process rises (``VmHWM``). The goals are for
answers in JSON and HTML.

Time is told twice. By the clock, everything else on the machine is in it. Server time is the
processor time of this process and of all of Postgres' while the answer is made, from the
scheduler's own count in nanoseconds; the goal is for it.
"""

import argparse
import asyncio
import re
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from kit.served import client, logged_in, served
from report import record
from starlette.routing import Route

from db.session import transaction
from services.api.batches import verdicts
from services.api.site import Site

GOAL_MS, GOAL_QUERIES, GOAL_MIB = 300, 20, 64
MILLISECONDS, NANOSECONDS, KIB = 1000, 1_000_000, 1024
PERCENT = 95
JUDGED = 600
"""Batches: more than the longest page of a list has."""


class Read(NamedTuple):
    """One route, as it is asked."""

    name: str
    address: str
    headers: dict[str, str]


class Cost(NamedTuple):
    """What one route took."""

    status: int
    media_type: str
    p95_ms: float
    least_ms: float
    clock_p95_ms: float
    query_count: int
    memory_mib: float
    size_bytes: int

    @property
    def is_judged(self) -> bool:
        """Whether the goals are for it."""
        return self.media_type in {"application/json", "text/html"}

    @property
    def is_met(self) -> bool:
        """Whether it keeps to them."""
        return (
            self.p95_ms <= GOAL_MS
            and self.query_count <= GOAL_QUERIES
            and self.memory_mib <= GOAL_MIB
        )


async def reads(site: Site, token: str) -> list[Read]:
    """Every GET of the API, and every page, with the ids of the newest batch in the address."""
    async with client(site) as http:
        http.headers["authorization"] = f"Bearer {token}"
        document = (await http.get("/api/v1/openapi.json")).json()
        batch = (await http.get("/api/v1/batches?limit=1")).json()["items"][0]
        runs = (await http.get(f"/api/v1/batches/{batch['code']}/runs?limit=1")).json()["items"]
        share = (await http.post(f"/api/v1/batches/{batch['code']}/shares", json={})).json()
    ids = {
        "batch": batch["code"],
        "trace": batch["traces"][0]["id"],
        "digest": batch["traces"][0]["digest"],
        "patch_set": batch["patch_sets"][0]["id"],
        "run": runs[0]["id"],
        "patch": "zap-account",
        "form": "json",
        "name": "not-found",
        "secret": share["path"].rpartition("/")[2],
    }
    bearer = {"authorization": f"Bearer {token}"}
    cookie = {"cookie": await logged_in(site)}
    found = [
        Read(f"GET {template}", filled(template, ids), bearer)
        for template, operations in document["paths"].items()
        if "get" in operations
    ]
    # The longest pages of the lists.
    found += [
        Read(f"GET {read.name[4:]}?limit=500", f"{read.address}?limit=500", bearer)
        for read in found
        if any(
            parameter["name"] == "limit" and parameter["schema"].get("maximum", 0) > KIB // 4
            for parameter in document["paths"][read.name[4:]]["get"].get("parameters", [])
        )
    ]
    pages: Any = site.pages
    return found + [
        Read(f"page {route.path}", filled(route.path, ids), cookie)
        for route in pages._app.routes  # noqa: SLF001  # the table of all pages
        if isinstance(route, Route) and "GET" in (route.methods or ())
    ]


def filled(template: str, ids: dict[str, str]) -> str:
    """An address with ids in the place of names."""
    return re.sub(r"\{(\w+)\}", lambda match: ids.get(match[1], ids["trace"]), template)


def processor_ns(postmaster: int) -> int:
    """Processor time of this process and of Postgres so far.

    A backend that ends takes its time with it, so a difference may only be too small for a moment;
    the pool keeps its backends.
    """
    found = time.process_time_ns()
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
    for pid in (str(postmaster), *children.read_text(encoding="ascii").split()):
        with suppress(OSError):
            text = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii")
            found += int(text.split()[0])
    return found


async def measured(site: Site, engine: sa.Engine, read: Read, count: int, postmaster: int) -> Cost:
    """What a read takes: ``count`` times, then once more for its queries and its memory."""
    seen: list[str] = []

    def see(*given: Any) -> None:
        seen.append(given[2])

    async with client(site) as http:
        times, clock = [], []
        for number in range(count + 2):
            began, spent = time.perf_counter(), processor_ns(postmaster)
            answer = await http.get(read.address, headers=read.headers)
            # The first ones import modules and fill connection pools.
            if number > 1:
                times.append((processor_ns(postmaster) - spent) / NANOSECONDS)
                clock.append((time.perf_counter() - began) * MILLISECONDS)
        before = begin_peak()
        sa.event.listen(engine, "before_cursor_execute", see)
        answer = await http.get(read.address, headers=read.headers)
        sa.event.remove(engine, "before_cursor_execute", see)
        memory_kib = memory("VmHWM") - before
    return Cost(
        answer.status_code,
        answer.headers.get("content-type", "").partition(";")[0],
        statistics.quantiles(times, n=100)[PERCENT - 1],
        min(times),
        statistics.quantiles(clock, n=100)[PERCENT - 1],
        len(seen),
        memory_kib / KIB,
        len(answer.content),
    )


def begin_peak() -> int:
    """Forgets the highest memory so far; how much there is now, in KiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return memory("VmRSS")


def memory(name: str) -> int:
    """A line of this process' status, in KiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


def line(name: str, cost: Cost) -> str:
    """A line of the table that is printed."""
    told = "" if not cost.is_judged else "met" if cost.is_met else "NOT MET"
    return (
        f"{name:52} {cost.status:6} {cost.p95_ms:8.1f} {cost.least_ms:6.1f} "
        f"{cost.clock_p95_ms:8.1f} {cost.query_count:7} {cost.memory_mib:9.1f} "
        f"{cost.size_bytes:9} {told}"
    )


async def measure(
    site: Site, engine: sa.Engine, token: str, options: argparse.Namespace, postmaster: int
) -> dict[str, Cost]:
    """Every read, one after the other."""
    costs = {}
    print(f"{'read':52} status   p95 ms  least    clock queries  MiB more      size")
    for read in await reads(site, token):
        if options.only in read.name and not read.name.endswith("/events"):
            costs[read.name] = await measured(site, engine, read, options.count, postmaster)
            print(line(read.name, costs[read.name]), flush=True)
    return costs


def main() -> int:
    """Measure, print the table, keep the worst."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=40, help="how often each is asked")
    parser.add_argument("--only", default="", help="reads with this in their name; not recorded")
    options = parser.parse_args()
    with served(options.folder) as (site, resources, token, postmaster):
        engine = resources.engine
        with transaction(engine) as session:
            count = session.scalar(sa.text("SELECT count(*) FROM results"))
            assert session.scalar(sa.text("SELECT count(*) FROM batches"))
        print(f"{count} results")
        # What housekeeping does while nobody looks: the newest batches are judged once.
        for _ in range(JUDGED // verdicts.BATCHES_AT_ONCE):
            verdicts.judge_waiting(resources)
        costs = asyncio.run(measure(site, engine, token, options, postmaster))
        judged = {name: cost for name, cost in costs.items() if cost.is_judged}
        worst = max(judged, key=lambda name: judged[name].p95_ms)
        record(
            "reads_p95" if not options.only else f"reads_p95_{options.only}",
            ratio=judged[worst].p95_ms / GOAL_MS,
            what=f"p95 of the slowest read with {count} results, {worst}, over the goal",
            ours={
                "p95_ms": judged[worst].p95_ms,
                "queries": max(cost.query_count for cost in judged.values()),
                "memory_mib": max(cost.memory_mib for cost in judged.values()),
                "not_met": sum(not cost.is_met for cost in judged.values()),
            },
            theirs={"goal_ms": GOAL_MS, "queries": GOAL_QUERIES, "memory_mib": GOAL_MIB},
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
