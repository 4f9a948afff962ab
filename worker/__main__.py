"""``python -m worker [CELERY WORKER OPTIONS]``: one worker on every queue."""

from __future__ import annotations

import sys

from db.messages import QUEUE_SHARDS, QUEUE_UPKEEP
from worker.app import app

if __name__ == "__main__":
    app.worker_main(
        ["worker", "--loglevel=INFO", f"--queues={QUEUE_SHARDS},{QUEUE_UPKEEP}", *sys.argv[1:]]
    )
