"""``question.run``."""

from __future__ import annotations

import logging

from db.shards.messages import TASK_QUESTION_RUN
from worker import lifecycle, questions
from worker.app import app

_log = logging.getLogger(__name__)


@app.task(name=TASK_QUESTION_RUN)
def run(question_id: str) -> None:
    """Answer what waits, for a turn; the message says only that there is something."""
    count = questions.take_turn(lifecycle.resources())
    _log.info("nudged for question %s: %d answered", question_id, count)
