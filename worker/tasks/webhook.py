"""``webhook.deliver``."""

from __future__ import annotations

from db.messages import TASK_WEBHOOK_DELIVER
from worker import lifecycle, webhooks
from worker.app import app


@app.task(name=TASK_WEBHOOK_DELIVER)
def deliver() -> None:
    """Send what is due; harmless however often it runs."""
    webhooks.deliver(lifecycle.resources())
