"""A batch on a running stack, looked at from outside: through the API and in the rows."""

import itertools
from pathlib import Path

import sqlalchemy as sa

from db.models import Batch, BatchEvent, Result, Run, Shard, Worker
from db.session import transaction
from refault.catalogue import Parameters, PatchSet, resolve
from refault.replay import session as simulator
from tests.patience import eventually

# One shard of four variants: seconds of work, most of it in the kernel loop.
PATCHES = (
    (),
    ("zap-account",),
    ("zap-account", "parent-stop-bit"),
    ("zap-account", "unsync-list-global"),
)
RUN_COUNT = len(PATCHES)
# So few shadow pages that the kernel is busy recycling them.
limits = itertools.count(80)

_digests = {}


def _digest_there(stack, client, trace):
    """Of a trace that is uploaded once: the service reads millions of events to take it."""
    key = (stack.folder.root, trace)
    if key not in _digests:
        _digests[key] = client.upload_trace(trace).trace["digest"]
    return _digests[key]


class Watched:
    """A batch of one trace under variants nobody has run before."""

    def __init__(self, stack, client, trace, *, wanted=None):
        self.stack = stack
        self.client = client
        self.trace = trace
        parameters = Parameters(page_limit=next(limits))
        self.wanted = wanted or [PatchSet(patches=p, parameters=parameters) for p in PATCHES]
        self.digest = _digest_there(stack, client, trace)
        self.sets = [
            client.create_patch_set(
                resolve(patch_set).name,
                base=patch_set.base,
                patches=list(patch_set.patches),
                parameters=patch_set.parameters.to_dict(),
            )["id"]
            for patch_set in self.wanted
        ]
        self.code = ""

    @property
    def variants(self):
        return [resolve(patch_set) for patch_set in self.wanted]

    def submit(self, **options):
        self.code = self.client.submit_batch([self.digest], self.sets, **options)["code"]
        return self

    def wait(self, is_so, what, *, look_after=True):
        def look():
            if not (found := is_so()) and look_after:
                self.stack.watch()
            return found

        def told():
            tails = [process.tail() for process in self.stack.workers]
            return "\n\n".join([f"{what}; logs: {self.stack.folder.root}", *tails])

        return eventually(look, told)

    def rows(self, model):
        batch = sa.select(Batch.id).where(Batch.code == self.code).scalar_subquery()
        with transaction(self.stack.engine) as session:
            query = sa.select(model).where(model.batch_id == batch).order_by(model.id)
            return session.scalars(query).unique().all()

    def shard(self):
        """The batch's first shard as it is now; the others, if there are several, matter less."""
        return self.rows(Shard)[0]

    def wait_until_in_the_kernel_loop(self, *, attempt=1, look_after=True):
        """Some events are done and some are not: the process is between them. Its worker's row."""

        def running():
            shard = self.shard()
            assert shard.state in ("queued", "running"), "it was over before anybody looked"
            is_inside = 0 < shard.events_done < shard.events_total
            return shard if shard.attempt >= attempt and is_inside else None

        shard = self.wait(running, f"attempt {attempt} in the loop", look_after=look_after)
        with transaction(self.stack.engine) as session:
            return session.get(Worker, shard.worker)

    def wait_until_over(self, *, look_after=True):
        def over():
            document = self.client.get_batch(self.code)
            return document if document["finished_at"] else None

        return self.wait(over, "the end of the batch", look_after=look_after)

    def told(self, kind):
        """What the batch's story says in steps of that kind."""
        return [step.body for step in self.rows(BatchEvent) if step.kind == kind]

    def told_of_shard(self, kind):
        """The same of the first shard alone."""
        shard_id = str(self.shard().id)
        return [body for body in self.told(kind) if body["shard_id"] == shard_id]

    def expect_results_of_all(self):
        """Each variant has one result, with the bytes of an undisturbed replay."""
        undisturbed = {
            result.variant_digest: result.digest
            for result in simulator.replay(self.trace, self.variants)
        }
        with transaction(self.stack.engine) as session:
            query = sa.select(Result).where(Result.variant_digest.in_(list(undisturbed)))
            found = session.scalars(query).all()
        assert {row.variant_digest: row.body_digest for row in found} == undisturbed
        assert len(found) == len(undisturbed)
        assert all(row.integrity_alarm is None for row in found)
        assert len(self.told("run.done")) == len(undisturbed)

    def expect_exactly_one_result_each(self):
        """Nothing lost, nothing counted twice, nothing else but results."""
        self.expect_results_of_all()
        assert len(self.told("batch.done")) == 1
        assert {run.state for run in self.rows(Run)} == {"done"}


def pool_process_of(pid):
    """The process of a worker that computes."""
    with Path(f"/proc/{pid}/task/{pid}/children").open() as stream:
        [child] = [int(word) for word in stream.read().split()]
    return child
