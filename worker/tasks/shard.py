"""``shard.run``: claim, compute, record."""

from __future__ import annotations

import dataclasses
import logging
import traceback
import uuid

from db import session
from db.messages import TASK_SHARD_RUN, ShardMessage
from db.models import Run
from db.repositories import shards
from db.repositories.results import Outcome
from refault.catalogue import Parameters, PatchSet, Variant, resolve
from refault.compare import laws
from refault.errors import ReplayCancelled, ReplayRefused, TraceError
from refault.mmu import engine as simulator
from worker.app import app, worker_name
from worker.connections import blobs, engine
from worker.lease import Lease
from worker.settings import settings
from worker.task import HEALED_BY_TIME, Task

log = logging.getLogger("refault.worker")

TAIL_LINES = 20


@app.task(base=Task, name=TASK_SHARD_RUN)
def run(shard_id: str, attempt: int) -> None:
    """Take the shard if it is still to be had, replay it, and record what came out.

    A message that comes twice, late or for a shard another worker holds finds the row
    in another state and is dropped. No transaction is open while the simulator runs.
    """
    fence = shards.Fence(uuid.UUID(shard_id), attempt)
    with session.transaction(engine()) as opened:
        claim = shards.claim(
            opened,
            fence,
            worker=worker_name(),
            simulator_digest=simulator.simulator_digest(),
            lease_seconds=settings().lease_seconds,
        )
    if claim is None:
        return
    try:
        with Lease(claim) as lease:
            outcomes = compute(claim, lease)
    except ReplayCancelled:
        with session.transaction(engine()) as opened:
            shards.cancelled(opened, fence)
        return
    except (TraceError, ReplayRefused) as error:
        with session.transaction(engine()) as opened:
            shards.fail(opened, fence, str(error))
        return
    except HEALED_BY_TIME as error:
        give_back(fence, f"{type(error).__name__}: {error}")
        return
    with session.transaction(engine()) as opened:
        counted = shards.record(
            opened,
            fence,
            outcomes,
            simulator_digest=simulator.simulator_digest(),
            worker=worker_name(),
        )
    if not counted:
        log.warning("shard %s attempt %d was given to somebody else; dropped", shard_id, attempt)


def compute(claim: shards.Claim, lease: Lease) -> list[Outcome]:
    """Replay the shard's runs on one decode; a crash of the simulator is told apart by variant."""
    variants = [variant_of(run) for run in claim.runs]
    path = blobs().path(claim.trace_digest)
    try:
        results = simulator.replay(
            path, variants, progress=lease.progress, is_cancelled=lease.is_cancelled
        )
        for result in results:
            laws.check(result)
    except (TraceError, ReplayRefused, ReplayCancelled):
        raise
    except HEALED_BY_TIME:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a simulator can do wrong is a result
        if len(variants) == 1:
            return [Outcome(variants[0].digest, crash=_tail(error))]
        # One variant must not take the others down with it.
        return [compute(_only(claim, place), lease)[0] for place in range(len(variants))]
    return [Outcome(result.variant_digest, result=result) for result in results]


def variant_of(run: Run) -> Variant:
    """The variant a run's row describes, resolved again and checked against its digest."""
    row = run.variant
    patch_set = PatchSet(row.base, tuple(row.patches), Parameters.from_dict(row.parameters))
    variant = resolve(patch_set)
    if variant.digest != row.digest:
        msg = (
            f"variant {row.digest[:12]} resolves to {variant.digest[:12]} here: "
            "this worker has another catalogue than the API; deploy both together"
        )
        raise ReplayRefused(msg)
    return variant


def give_back(fence: shards.Fence, error: str) -> None:
    """End the attempt and send the message of the next one, after the commit."""
    with session.transaction(engine()) as opened:
        message = shards.give_back(opened, fence, error)
    if message is not None:
        publish([message])


def publish(messages: list[ShardMessage]) -> None:
    """Nudge a worker for each; what the broker does not take, the sweep sends again."""
    for message in messages:
        try:
            app.send_task(TASK_SHARD_RUN, kwargs=message.to_arguments(), retry=False)
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises
            log.warning("shard %s is not announced: %s", message.shard_id, error)
            return


def _only(claim: shards.Claim, place: int) -> shards.Claim:
    return dataclasses.replace(claim, runs=(claim.runs[place],))


def _tail(error: BaseException) -> str:
    lines = "".join(traceback.format_exception(error)).strip().splitlines()
    return "\n".join(lines[-TAIL_LINES:])
