"""``python -m worker``: one worker, one shard at a time."""

import os
import sys

from services.shared import semaphores
from worker.settings import load


def main() -> int:
    """Runs until a signal; further arguments go to Celery."""
    if reason := semaphores.why_none():
        sys.stderr.write(f"the worker cannot start: {reason}\n")
        return 2
    # Makes Celery treat SIGTERM as a soft shutdown: finish within the grace period, then requeue.
    # Celery reads it at import, so the import comes after.
    os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")
    from worker.app import app  # noqa: PLC0415
    from worker.kernels import queues  # noqa: PLC0415

    app.worker_main(
        [
            "worker",
            "--queues",
            ",".join(queues(load())),
            "--concurrency",
            "1",
            "--loglevel",
            "INFO",
            "--without-gossip",
            "--without-mingle",
            *sys.argv[1:],
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
