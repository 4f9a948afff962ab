"""Fills a scratch database with a million results and the batches that show them.

    python benchmarks/fill.py FOLDER [--results 1000000]

Postgres of the embedded stack, in FOLDER; rows by COPY. 1000 traces × 100 variants × 10
simulators, a batch for every 20 traces and 10 variants, 5000 batches of 200 cells, and one batch
of 200 traces and 40 variants, which is the newest. Bodies
are as large as real ones. Their digests are of the text that was copied, not of canonical bytes,
so `python -m db verify` would object to this database, rightly.
"""

import argparse
import datetime
import hashlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg

from db import schema
from db.identifiers import CODE_ALPHABET, uuid7
from db.models import FIRST_PROJECT
from db.repositories import patches
from db.session import create_engine, transaction
from refault import catalogue
from refault.facts import facts_of
from refault.results import COUNTERS, SEMANTICS, WORK, RunResult
from services.local import postgres
from services.local.folder import DataFolder

TRACES, VARIANTS = 1000, 100
BATCH_TRACES, BATCH_COLUMNS = 20, 10
LARGE_TRACES, LARGE_COLUMNS = 200, 40
# A crash of the machine costs this database, which is made to be thrown away.
HASTY = {"fsync": "off", "synchronous_commit": "off", "max_wal_size": "4GB"}


def digest(*parts: object) -> str:
    """A sha256 of a few words."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def variants() -> list[catalogue.Variant]:
    """Machines that differ in their page limit, half of them with the whole series."""
    made = []
    for number in range(VARIANTS):
        chosen = catalogue.SEED_SERIES if number % 2 else ()
        parameters = catalogue.Parameters(page_limit=100 + number)
        made.append(catalogue.resolve(catalogue.PatchSet(patches=chosen, parameters=parameters)))
    return made


class Plan(NamedTuple):
    """A batch: so many traces and columns, from these on."""

    row_id: str
    code: str
    simulator: str
    first_trace: int
    first_column: int
    trace_count: int = BATCH_TRACES
    column_count: int = BATCH_COLUMNS


def result_of(number: int) -> RunResult:
    """A result, without digests of its own yet."""
    hexadecimal = digest("body", number)
    return RunResult(
        trace_digest=hexadecimal,
        variant_digest=hexadecimal,
        simulator_digest=hexadecimal,
        event_count=2_000_000,
        operation_count=1_900_000,
        instruction_count=2_345_678_901,
        truncated=False,
        counters={name: 1000 * place + number for place, name in enumerate(COUNTERS)},
        semantics=dict.fromkeys(SEMANTICS, 0),
        findings=(),
        finding_count=0,
        stopped=None,
        outcome_digest=digest("outcome"),
        page_digest=digest("pages", number),
        skipped={},
        work=dict.fromkeys(WORK, number),
    )


class Filler:
    """Writes the rows, table by table, each under ids it remembers."""

    def __init__(self, connection: psycopg.Connection, simulator_count: int) -> None:
        self.connection = connection
        self.project = str(FIRST_PROJECT)
        self.simulators = [digest("simulator", number) for number in range(simulator_count)]
        self.traces = [(str(uuid7()), digest("trace", number)) for number in range(TRACES)]
        self.variants = variants()
        self.sets = [str(uuid7()) for _ in self.variants]
        self.results: dict[tuple[str, str, str], str] = {}

    def copy(self, table: str, columns: str, rows: Iterator[tuple[object, ...]]) -> None:
        """One COPY."""
        began, count = time.perf_counter(), 0
        statement = f"COPY {table} ({columns}) FROM STDIN"
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            for count, row in enumerate(rows, 1):  # noqa: B007  # counted
                copy.write_row(row)
        print(f"  {table}: {count} rows in {time.perf_counter() - began:.1f} s", flush=True)

    def fill(self) -> None:
        """Everything, parents first."""
        self.copy("simulators", "digest, semantics_version", ((d, 1) for d in self.simulators))
        self.copy(
            "variants",
            "digest, name, base, patches, parameters",
            (
                (
                    variant.digest,
                    variant.name,
                    variant.base,
                    json.dumps(list(variant.patches)),
                    json.dumps(variant.parameters.to_dict()),
                )
                for variant in self.variants
            ),
        )
        self.copy(
            "patch_sets",
            "id, project_id, name, base, parameters, digest, variant_digest",
            (
                (row_id, self.project, f"set {n}", v.base, "{}", digest("set", n), v.digest)
                for n, (row_id, v) in enumerate(zip(self.sets, self.variants, strict=True))
            ),
        )
        self.copy(
            "traces",
            "id, project_id, digest, name, content, guest_mode, vcpu_count, size_bytes,"
            " event_count, instruction_count, truncated, events_by_kind, header",
            (
                (
                    row_id,
                    self.project,
                    name,
                    f"guest-{n}",
                    "capture",
                    "long",
                    1,
                    10**6,
                    2 * 10**6,
                    10**9,
                    False,
                    '{"ACCESS": 2000000}',
                    "{}",
                )
                for n, (row_id, name) in enumerate(self.traces)
            ),
        )
        self.copy(
            "results",
            "id, trace_digest, variant_digest, simulator_digest, outcome, body, body_digest,"
            " facts, worker, created_at",
            self.result_rows(),
        )
        self.fill_batches()

    def result_rows(self) -> Iterator[tuple[object, ...]]:
        """Bodies by text replacement: building each anew would take longer than storing it."""
        templates, facts = [], []
        for number in range(VARIANTS):
            result = result_of(number)
            facts.append(facts_of(result).to_bytes())
            body = result.to_dict()
            old = str(body["trace_digest"])
            body |= {"trace_digest": "@T", "variant_digest": "@V", "simulator_digest": "@S"}
            assert old not in json.dumps(body)
            templates.append(json.dumps(body))
        for simulator in self.simulators:
            for (_, trace), (number, variant) in itertools.product(
                self.traces, enumerate(self.variants)
            ):
                row_id = str(uuid7())
                self.results[trace, variant.digest, simulator] = row_id
                text = templates[number].replace("@T", trace, 1)
                text = text.replace("@V", variant.digest, 1).replace("@S", simulator, 1)
                yield (
                    row_id, trace, variant.digest, simulator, "complete", text,
                    hashlib.sha256(text.encode()).hexdigest(), facts[number], "w1",
                    moment_of(len(self.results)),
                )  # fmt: skip

    def fill_batches(self) -> None:
        """Batches that are over, their columns, traces and runs."""
        plans = [
            Plan(str(uuid7()), code_of(number), simulator, first_trace, first_column)
            for number, (simulator, first_trace, first_column) in enumerate(
                itertools.product(
                    self.simulators,
                    range(0, TRACES, BATCH_TRACES),
                    range(0, VARIANTS, BATCH_COLUMNS),
                )
            )
        ]
        code = code_of(len(plans))
        large = Plan(str(uuid7()), code, self.simulators[0], 0, 0, LARGE_TRACES, LARGE_COLUMNS)
        plans.append(large)
        self.copy(
            "batches",
            "id, project_id, code, plan, state, recompute, simulator_digest, content_digest,"
            " run_count, done_count, cached_count, failed_count, cancelled_count, finished_at",
            (
                (
                    plan.row_id,
                    self.project,
                    plan.code,
                    "each",
                    "done",
                    False,
                    plan.simulator,
                    digest(plan.code),
                    *[plan.trace_count * plan.column_count] * 3,
                    0,
                    0,
                    "now",
                )
                for plan in plans
            ),
        )
        self.copy(
            "batch_traces",
            "batch_id, position, trace_id",
            (
                (plan.row_id, position, self.traces[plan.first_trace + position][0])
                for plan in plans
                for position in range(plan.trace_count)
            ),
        )
        self.copy(
            "batch_columns",
            "batch_id, position, label, patch_set_id, variant_digest",
            (
                (
                    plan.row_id,
                    position,
                    f"set {plan.first_column + position}",
                    self.sets[plan.first_column + position],
                    self.variants[plan.first_column + position].digest,
                )
                for plan in plans
                for position in range(plan.column_count)
            ),
        )
        self.copy(
            "runs",
            "id, project_id, batch_id, trace_id, variant_digest, position, state, result_id,"
            " finished_at",
            self.run_rows(plans),
        )

    def run_rows(self, plans: list[Plan]) -> Iterator[tuple[object, ...]]:
        """One run per cell, linked to its result."""
        for plan in plans:
            grid = itertools.product(range(plan.trace_count), range(plan.column_count))
            for position, (row, column) in enumerate(grid):
                trace_id, trace = self.traces[plan.first_trace + row]
                variant = self.variants[plan.first_column + column].digest
                result = self.results[trace, variant, plan.simulator]
                yield (
                    str(uuid7()), self.project, plan.row_id, trace_id, variant, position, "cached",
                    result, "now",
                )  # fmt: skip


def moment_of(number: int) -> str:
    """A result a minute, back from today: about two years for a million."""
    today = datetime.datetime.now(datetime.UTC)
    return (today - datetime.timedelta(minutes=number)).isoformat()


def code_of(number: int) -> str:
    """Batch codes that are told apart by their number."""
    text = ""
    for _ in range(6):
        number, place = divmod(number, len(CODE_ALPHABET))
        text += CODE_ALPHABET[place]
    return f"b-{text}"


def open_database(folder: Path) -> tuple[DataFolder, postgres.Postgres]:
    """The scratch database, running; stop it with ``process.stop()``."""
    data = DataFolder(folder)
    data.open()
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(data.path("tmp"))}
    return data, postgres.start(data, environment, settings=HASTY)


def main() -> int:
    """Fill the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", type=int, default=10**6, help="a multiple of 100,000")
    options = parser.parse_args()
    data, server = open_database(options.folder)
    try:
        engine = create_engine(server.url())
        schema.upgrade(engine)
        with transaction(engine) as session:
            patches.copy_catalogue(session)
        engine.dispose()
        began = time.perf_counter()
        with psycopg.connect(server.url()) as connection:
            Filler(connection, options.results // (TRACES * VARIANTS)).fill()
            connection.commit()
            connection.autocommit = True
            connection.execute("VACUUM ANALYZE")
            size = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        print(f"filled in {time.perf_counter() - began:.0f} s, {size[0] / 2**30:.2f} GiB")
    finally:
        server.process.stop()
        data.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
