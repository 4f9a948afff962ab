"""What the methods of ``Questions`` and ``AsyncQuestions`` ask, each request described once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refault.client import calls, connection
from refault.client.documents import Page
from refault.client.question_documents import QuestionDocument

if TYPE_CHECKING:
    from refault.client.calls import Call
    from refault.questions import Question

#: States of a question that is not answered yet.
OPEN_STATES = ("queued", "running")
#: Most are answered within a second, some take minutes.
FIRST_PAUSE_S = 0.1


def ask(question: Question, trace: str, *variants: str) -> Call[QuestionDocument]:
    """A question of a trace under these variants; a verification has none."""
    body: dict[str, Any] = {"kind": question.kind, "trace": trace, **question.to_request()}
    if len(variants) == 1:
        body["variant"] = variants[0]
    elif variants:
        body["variants"] = list(variants)
    return calls.ask("POST", ("questions",), body=body, shape=QuestionDocument)


def get_question(question: str) -> Call[QuestionDocument]:
    """One question by id, with its answer."""
    return calls.ask("GET", ("questions", question), shape=QuestionDocument)


def list_questions(
    *,
    kind: str | None = None,
    trace: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[Page[QuestionDocument]]:
    """One page of questions, newest first."""
    query = {"kind": kind, "trace": trace, "limit": limit, "cursor": cursor}
    return calls.ask("GET", ("questions",), query=query, shape=Page[QuestionDocument])


def longer(pause_s: float) -> float:
    """The pause after one of ``pause_s``."""
    return min(connection.POLL_S, 1.5 * pause_s)
