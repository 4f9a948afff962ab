import pytest

from db.blobs import open_store
from db.repositories import traces
from db.shards.fences import Fence
from refault.engines import ENGINES
from refault.trace import TraceReader
from tests.builders import put_blob, transaction
from tests.engines.guests import A, D, Guest, P, U, W
from tests.fixtures.database import Store
from worker.resources import Resources
from worker.settings import Settings


@pytest.fixture
def small_trace(tmp_path):
    """A guest of one address space that is read, written and remapped, as a file."""
    guest = Guest()
    flags = P | W | U | A | D
    guest.table(1, {0: 2 << 12 | flags})
    guest.table(2, {0: 3 << 12 | flags})
    guest.table(3, {0: 4 << 12 | flags})
    guest.table(4, {index: (16 + index) << 12 | flags for index in range(32)})
    guest.boot(1 << 12)
    for index in range(32):
        guest.load(index << 12).store(index << 12, index)
    guest.cr3(1 << 12).load(0)
    path = tmp_path / "small.rft"
    path.write_bytes(guest.bytes())
    return path


@pytest.fixture
def sent():
    """The messages a worker has sent."""
    return []


@pytest.fixture
def resources(database_url, tmp_path, sent):
    settings = Settings(
        database_url=database_url,
        broker_url="redis://127.0.0.1:1/0",
        blobs=tmp_path / "blobs",
        # No test waits for a lease to end or a message to grow old: it moves the row's times.
        lease_seconds=3600,
        heartbeat_seconds=0.05,
        resend_seconds=3600,
    )

    def publish(messages):
        sent.extend(messages)
        return len(messages)

    held = Resources.open(
        settings,
        simulators={name: engine.digest for name, engine in ENGINES.items()},
        publish=publish,
        cache=tmp_path / "cache",
    )
    yield held
    held.close()


@pytest.fixture
def room(resources, engine, small_trace):
    """The worker's room with one trace stored: rows to ask, batches to plan."""
    return Room(resources, engine, small_trace)


class Room(Store):
    def __init__(self, resources, engine, path):
        super().__init__(engine)
        self.resources = resources
        self.simulator = resources.simulators["shadow"]
        self.add_worker(resources.name)
        self.blobs = open_store(resources.settings.blobs)
        self.digest = put_blob(self.blobs, path.read_bytes())
        with TraceReader(path) as reader:
            for _ in reader.blocks():
                pass
            summary = reader.summary
        with transaction(engine) as session:
            self.trace, _ = traces.add(
                session,
                digest=self.digest,
                name="small",
                content="operations",
                guest_mode="long",
                vcpu_count=1,
                size_bytes=path.stat().st_size,
                event_count=summary.event_count,
                instruction_count=summary.instruction_count,
                truncated=False,
                events_by_kind=summary.events_by_kind,
                header={},
            )

    def add_trace(self, name="boot", **given):
        if name == "boot":
            return self.trace
        return super().add_trace(name, **given)

    def fences(self, messages):
        return [Fence(message.shard_id, message.attempt) for message in messages]


@pytest.fixture
def allowed(resources):
    """The worker's settings, with loopback allowed, and patience for a busy machine."""
    change_settings(resources, webhook_networks="127.0.0.0/8", webhook_timeout_seconds=20)
    return resources


def change_settings(resources, **changed):
    object.__setattr__(resources, "settings", resources.settings.model_copy(update=changed))
