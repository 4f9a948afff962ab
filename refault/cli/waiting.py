"""A batch is planned for the simulator of a worker: the first one compiles for half a minute."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from refault.cli.progress import status_line
from refault.client.starting import starting_text
from refault.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from refault.client import BatchDocument, Client

NO_SIMULATOR: Final = "/problems/no-simulator"
POLL_S: Final = 1.0


def once_a_worker_is_ready(
    client: Client, ask: Callable[[], BatchDocument], *, enabled: bool
) -> BatchDocument:
    """What ``ask`` answers, also where it has to wait for a worker that is starting.

    Raises:
        Refused: for another reason, or no worker is starting.
    """
    with status_line(enabled=enabled) as bars:
        task = None
        while True:
            try:
                return ask()
            except Refused as error:
                if error.problem.get("type") != NO_SIMULATOR:
                    raise
                starting = starting_text(client.get_workers()["starting"])
                if not starting:
                    raise
            if task is None:
                task = bars.add_task(starting)
            bars.update(task, description=f"waiting: {starting}")
            time.sleep(POLL_S)
