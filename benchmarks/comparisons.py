"""How long the comparison of a batch takes with a million results in Postgres.

    python benchmarks/fill.py /tmp/scale && python benchmarks/comparisons.py /tmp/scale

Asks the API in this process, over ASGI, with Postgres a process of its own, for batches chosen
by one seed, each of 200 cells: its comparison, its matrix, and what pages and operators ask for
besides. Every query a comparison makes, with its plan as it ran, goes to ``comparison_plans.txt``.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from kit.served import served
from report import record
from starlette.types import ASGIApp

PLANS = Path(__file__).with_name("comparison_plans.txt")
GOAL_MS = 150
REQUESTS = 200
MILLISECONDS = 1000


def asker(site: ASGIApp, token: str) -> httpx.AsyncClient:
    """Somebody who may read everything."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(site),
        base_url="http://refault.test",
        headers={"Authorization": f"Bearer {token}"},
    )


async def measure(site: ASGIApp, engine: sa.Engine, token: str) -> dict[str, list[float]]:
    """Times of each kind of request, in milliseconds, over batches nobody asked for before."""
    with engine.connect() as connection:
        codes = [row.code for row in connection.execute(sa.text("SELECT code FROM batches"))]
    chosen = random.Random(1).sample(codes, REQUESTS)  # noqa: S311  # one seed for all
    kinds = {
        "comparison": "/api/v1/comparisons/{code}",
        "comparison as text": "/api/v1/comparisons/{code}.txt",
        "matrix": "/api/v1/batches/{code}",
        "list of 20 batches": "/api/v1/batches?limit=20",
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    async with asker(site, token) as http:
        for kind, address in kinds.items():
            for number, code in enumerate(chosen):
                began = time.perf_counter()
                answer = await http.get(address.format(code=code))
                took = time.perf_counter() - began
                assert answer.status_code == 200, answer.text
                # The first ones import modules and fill connection pools.
                if number >= 5:
                    times[kind].append(took * MILLISECONDS)
    return times


async def statements_of(
    site: ASGIApp, engine: sa.Engine, token: str, code: str
) -> list[tuple[str, Any]]:
    """What one comparison asks of the database."""
    seen: list[tuple[str, Any]] = []

    def remember(*given: Any) -> None:
        seen.append((given[2], given[3]))

    sa.event.listen(engine, "before_cursor_execute", remember)
    async with asker(site, token) as http:
        await http.get(f"/api/v1/comparisons/{code}")
    sa.event.remove(engine, "before_cursor_execute", remember)
    return seen


def plans(engine: sa.Engine, statements: list[tuple[str, Any]]) -> Iterator[str]:
    """EXPLAIN (ANALYZE, BUFFERS) of each statement, run once more, line by line."""
    with engine.connect() as connection:
        for statement, parameters in statements:
            head = " ".join(statement.split())
            yield f"\n-- {head[:100]} … {head[head.find(' FROM ') :][:200]}"
            explained = f"EXPLAIN (ANALYZE, BUFFERS) {statement}"
            for (line,) in connection.exec_driver_sql(explained, parameters):
                yield f"   {line}"


def percentile(times: list[float], share: int) -> float:
    """A percentile in whole hundredths."""
    return statistics.quantiles(times, n=100)[share - 1]


def main() -> int:
    """Measure, print the plans, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    with served(options.folder) as (site, resources, token, _):
        engine = resources.engine
        with engine.connect() as connection:
            count = connection.scalar(sa.text("SELECT count(*) FROM results"))
            code = connection.scalar(sa.text("SELECT max(code) FROM batches"))
        print(f"{count} results")
        times = asyncio.run(measure(site, engine, token))
        statements = asyncio.run(statements_of(site, engine, token, code))
        text = "\n".join(plans(engine, statements)).lstrip()
        PLANS.write_text(f"{text}\n", encoding="utf-8")
        for kind, taken in times.items():
            p50, p95 = percentile(taken, 50), percentile(taken, 95)
            print(f"{kind}: median {p50:.1f} ms, p95 {p95:.1f} ms, n={len(taken)}")
        for name, kind in (("comparison_p95", "comparison"), ("matrix_p95", "matrix")):
            p95 = percentile(times[kind], 95)
            record(
                name,
                ratio=p95 / GOAL_MS,
                what=f"p95 of a {kind} of 200 cells with {count} results, over the goal",
                ours={"p95_ms": p95, "median_ms": percentile(times[kind], 50)},
                theirs={"goal_ms": GOAL_MS},
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
