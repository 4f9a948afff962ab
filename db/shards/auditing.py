"""Audits of a batch's runs: questions that are asked when the batch is planned."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy.orm import Session

from db.models import Trace
from db.repositories import questions
from db.shards.messages import QuestionMessage
from db.shards.refusals import Unrunnable
from refault import catalogue
from refault.audits import Level
from refault.errors import InvalidParameter
from refault.questions import Question

AUDITS_MAX = 2_000


def check(level: Level | None, run_count: int) -> None:
    """Raises InvalidParameter if so many runs cannot be audited."""
    if level is not None and run_count > AUDITS_MAX:
        raise InvalidParameter(
            f"audit: {run_count} runs are more than {AUDITS_MAX} audits: submit several batches, "
            "or one without"
        )


def ask(
    session: Session,
    level: Level | None,
    traces: Collection[Trace],
    variants: Collection[catalogue.Variant],
    simulators: Mapping[str, str],
    unrunnable: Unrunnable,
) -> tuple[QuestionMessage, ...]:
    """Ask for an audit of every run that its engine can replay; one message for each new one."""
    if level is None:
        return ()
    cells = [
        (trace, variant, simulators[variant.engine])
        for trace in traces
        for variant in variants
        if (trace.digest, variant.digest) not in unrunnable
    ]
    return tuple(
        QuestionMessage(row_id) for row_id in questions.ask_all(session, Question(level), cells)
    )
