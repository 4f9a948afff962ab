"""Twenty people who watch a batch of 8000 cells, and a comparison across batches.

    python benchmarks/fill.py /tmp/scale --results 100000 && python benchmarks/viewers.py /tmp/scale

In this process, over ASGI, with Postgres a process of its own. Each round changes one run of the
largest batch, so that nothing of the last round may be shown again, and then twenty viewers ask at
once for the parts that changed, as their browsers do when a run ends. The yardstick is the same
question asked by one viewer in the same round. Times are processor time of the process that
answers.
"""

import argparse
import asyncio
import gzip
import statistics
import sys
import time
from pathlib import Path

import httpx
import sqlalchemy as sa
from comparisons import percentile
from kit.served import client, logged_in, served
from report import record

from services.api.site import Site

VIEWERS, ROUNDS = 20, 20
PAGE_GOAL_MS, COMPARE_GOAL_MS = 300, 1000
SCRIPT_GOAL_BYTES = 150 << 10
MILLISECONDS = 1000
CHANGE = sa.text(
    "UPDATE runs SET error = :note WHERE id = (SELECT id FROM runs WHERE batch_id = "
    "(SELECT id FROM batches WHERE code = :code) ORDER BY id LIMIT 1)"
)


async def asked(http: httpx.AsyncClient, address: str) -> tuple[float, int]:
    """Milliseconds of this process until an answer is there, and its bytes on the wire.

    Processor time of all its threads, so that other programs on the machine do not count; what
    Postgres does meanwhile does not count either.
    """
    began = time.process_time()
    async with http.stream("GET", address, headers={"accept-encoding": "gzip"}) as answer:
        size = len(b"".join([chunk async for chunk in answer.aiter_raw()]))
    assert answer.status_code == 200, address
    return (time.process_time() - began) * MILLISECONDS, size


async def watched(site: Site, engine: sa.Engine, cookie: str, code: str) -> dict[str, list[float]]:
    """The times of one viewer and of twenty, round by round."""
    address = f"/batches/{code}/parts?have="
    times: dict[str, list[float]] = {"one": [], "twenty": []}
    async with client(site) as http:
        http.headers["cookie"] = cookie
        await asked(http, address)
        for number in range(ROUNDS):
            change(engine, code, f"one {number}")
            times["one"].append((await asked(http, address))[0])
            change(engine, code, f"twenty {number}")
            began = time.process_time()
            await asyncio.gather(*(asked(http, address) for _ in range(VIEWERS)))
            # The time of all of them, a viewer.
            times["twenty"].append((time.process_time() - began) * MILLISECONDS / VIEWERS)
    return times


def change(engine: sa.Engine, code: str, note: str) -> None:
    """Makes the batch another one than it was."""
    with engine.begin() as connection:
        connection.execute(CHANGE, {"note": note, "code": code})


async def pages(site: Site, cookie: str, code: str, others: list[str]) -> dict[str, list[float]]:
    """The whole page, the page of a comparison across batches, and their data."""
    columns = "&".join(f"column={each}:{index}" for each in others for index in (0, 3))
    kinds = {
        "page": f"/batches/{code}",
        "compare": f"/compare?{columns}",
        "compare as data": f"/api/v1/comparisons?{columns}",
    }
    times: dict[str, list[float]] = {}
    async with client(site) as http:
        http.headers["cookie"] = cookie
        for kind, address in kinds.items():
            found = [await asked(http, address) for _ in range(ROUNDS + 1)]
            # The first one imports and fills pools.
            times[kind] = [took for took, _ in found[1:]]
            print(f"{kind}: {found[0][1] / 1024:.0f} KiB compressed")
    return times


def scripts() -> int:
    """Bytes of JavaScript, compressed one by one; charts need none."""
    folder = Path(__file__).parent.parent / "services" / "dashboard" / "static"
    return sum(len(gzip.compress(path.read_bytes())) for path in folder.glob("*.js"))


def keep(name: str, times: list[float], goal_ms: int, what: str, one: list[float]) -> None:
    """Print and record the 95th percentile beside its goal and its yardstick."""
    p95, median = percentile(times, 95), statistics.median(times)
    yardstick = statistics.median(one)
    print(f"{what}: median {median:.0f} ms, p95 {p95:.0f} ms; one viewer {yardstick:.0f} ms")
    record(
        name,
        ratio=p95 / goal_ms,
        what=f"p95 of {what}, over the goal",
        ours={"p95_ms": p95, "median_ms": median},
        theirs={"goal_ms": goal_ms, "one_viewer_median_ms": yardstick},
    )


def main() -> int:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    with served(options.folder) as (site, resources, _, _):
        engine = resources.engine
        with engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT code FROM batches ORDER BY id DESC LIMIT 3"))
            code, *others = [row.code for row in rows]
        cookie = asyncio.run(logged_in(site))
        times = asyncio.run(watched(site, engine, cookie, code))
        times |= asyncio.run(pages(site, cookie, code, [code, *others][:1]))
        cells = "parts of a batch of 8000 cells"
        keep("parts_one", times["one"], PAGE_GOAL_MS, f"{cells}, one viewer", times["one"])
        keep("parts_of_20", times["twenty"], PAGE_GOAL_MS, f"{cells}, 20 viewers", times["one"])
        keep("page_8000_cells", times["page"], PAGE_GOAL_MS, "the page of 8000 cells", times["one"])
        what = "a comparison across batches, 2 columns × 200 traces"
        keep("compare_page", times["compare"], COMPARE_GOAL_MS, what, times["one"])
        size = scripts()
        record(
            "scripts",
            ratio=size / SCRIPT_GOAL_BYTES,
            what="bytes of JavaScript, compressed, over the goal",
            ours={"bytes": size},
            theirs={"goal_bytes": SCRIPT_GOAL_BYTES},
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
