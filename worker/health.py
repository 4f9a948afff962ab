"""``python -m worker.health``: 0 if a worker of this host has a recent heartbeat, else 1 and why.

The heartbeat is written by the worker's consumer loop, so a process that is
there but stuck is not called healthy.
"""

from __future__ import annotations

import socket
import sys

from db import session
from db.repositories import simulators
from refault.errors import Unavailable
from worker.settings import Settings


def main() -> int:
    """Ask the database once; answers the exit code."""
    host = socket.gethostname()
    settings = Settings()
    try:
        with session.transaction(session.create_engine(settings.database_url)) as opened:
            hosts = {worker.host for worker in simulators.alive_workers(opened)}
    except Unavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if host not in hosts:
        sys.stderr.write(f"no worker of {host} has a recent heartbeat\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
