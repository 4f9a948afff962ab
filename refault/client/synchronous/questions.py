# Generated from refault/client/asynchronous/questions.py by `make client`: change it there.
"""Questions of runs: asked, awaited, read, listed."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, TypeVar

from refault.client import calls, question_calls
from refault.client.waits import sleep

if TYPE_CHECKING:
    from refault.client.documents import BatchDocument, Page
    from refault.client.question_documents import QuestionDocument
    from refault.client.uploads import Progress
    from refault.questions import Question

AnswerT = TypeVar("AnswerT")


class Questions(abc.ABC):
    """Part of a client, which sends what is described here."""

    @abc.abstractmethod
    def _send(self, call: calls.Call[AnswerT]) -> AnswerT:
        """Ask the service, and read its answer."""

    def ask(self, question: Question, trace: str, *variants: str) -> QuestionDocument:
        """Ask a question of a trace, by id or digest, and of variants, as ``-v`` names them.

        Equal questions are one: its answer is kept, and one that failed is tried again.
        """
        return self._send(question_calls.ask(question, trace, *variants))

    def get_question(self, question: str) -> QuestionDocument:
        """One question by id, with its answer once it is done."""
        return self._send(question_calls.get_question(question))

    def list_questions(
        self,
        *,
        kind: str | None = None,
        trace: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[QuestionDocument]:
        """One page of questions, newest first, without their answers."""
        call = question_calls.list_questions(kind=kind, trace=trace, limit=limit, cursor=cursor)
        return self._send(call)

    def wait_for_question(
        self, question: str, *, progress: Progress | None = None
    ) -> QuestionDocument:
        """The question once it is answered or failed; ``progress(done, total)`` in bytes read."""
        pause = question_calls.FIRST_PAUSE_S
        while True:
            found = self._send(question_calls.get_question(question))
            if progress is not None:
                progress(found["bytes_done"], found["bytes_total"])
            if found["state"] not in question_calls.OPEN_STATES:
                return found
            sleep(pause)
            pause = question_calls.longer(pause)

    def wait_for_audits(self, batch: str, *, progress: Progress | None = None) -> BatchDocument:
        """The batch once its audits are over, or at once if it has none; ``progress`` in audits."""
        pause = question_calls.FIRST_PAUSE_S
        while True:
            found = self._send(calls.get_batch(batch))
            audits = found.get("audits")
            over = 0 if audits is None else audits["done"] + audits["failed"]
            if audits is None or over >= audits["total"]:
                return found
            if progress is not None:
                progress(over, audits["total"])
            sleep(pause)
            pause = question_calls.longer(pause)
