"""``python -m worker.health``: exit code 0 if the worker of this host is alive.

Checks the heartbeat that the consumer loop writes, not the process.
"""

import socket
import sys

from db import session
from db.repositories import simulators
from refault.errors import RefaultError
from worker.settings import load


def main() -> int:
    """Returns the exit code."""
    engine = session.create_engine(load().database_url, pool_size=1)
    try:
        with session.transaction(engine) as opened:
            hosts = [worker.host for worker in simulators.alive_workers(opened)]
    except RefaultError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        engine.dispose()
    if socket.gethostname() in hosts:
        return 0
    sys.stderr.write("no worker of this host has been heard of lately\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
