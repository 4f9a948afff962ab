"""Whether processes can share locks on this machine, as a worker and its child do."""

from __future__ import annotations

import multiprocessing


def why_none() -> str:
    """Why no semaphore can be made here, with the remedy; empty if one can.

    Linux keeps them in ``/dev/shm`` (sem_overview(7)).
    """
    try:
        multiprocessing.get_context("fork").Lock()
    except OSError as error:
        return (
            f"the processes of a worker share locks in /dev/shm, and none can be made there: "
            f"{error.strerror}. As root: mount -t tmpfs -o mode=1777 tmpfs /dev/shm; "
            "in a container: --tmpfs /dev/shm:mode=1777"
        )
    return ""
