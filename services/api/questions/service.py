"""From a question to its row, and from rows and documents to JSON."""

from collections.abc import Sequence
from typing import Any

import msgpack
from sqlalchemy.orm import Session

from db.errors import NoSimulator
from db.models import Question as QuestionRow
from db.repositories import accounts, documents, patch_sets, programs, questions, simulators, traces
from db.shards.messages import QuestionMessage
from refault import catalogue
from refault.errors import InvalidParameter, InvalidRequest
from refault.questions import Question
from services.api.deps import Resources
from services.api.errors import pointing_at
from services.api.questions.schemas import QuestionBody, QuestionDetail, QuestionSummary


def ask(resources: Resources, body: QuestionBody) -> tuple[QuestionDetail, bool]:
    """Ask a question, unless the project has asked it; its document, and whether it is new.

    Raises:
        PointedError: with the JSON pointer of what is wrong.
        NoSimulator: no worker has registered an engine of the variants.
        QuotaExceeded: too many questions wait already.
    """
    with resources.transaction() as session:
        question = _question(body)
        with pointing_at("/trace"):
            trace = traces.get(session, body.trace)
        resolve, variants = programs.resolver(session), []
        for index, text in enumerate(body.texts):
            place = "/variant" if body.variants is None else f"/variants/{index}"
            with pointing_at(place):
                wanted = catalogue.patch_set_from_text(text)
                variants.append(resolve(catalogue.kernel_patches_by_number(wanted)))
                _check_inspectable(question, variants[-1])
        row, is_new = questions.ask(
            session, question, trace, variants, _simulators(session, variants)
        )
        found = detail_of(session, row)
        message = QuestionMessage(row.id)
    if found.state == "queued":
        resources.sender.publish([message])
    return found, is_new


def _question(body: QuestionBody) -> Question:
    try:
        return body.question()
    except InvalidParameter as error:
        with pointing_at(""):
            raise InvalidRequest(str(error)) from error


def _check_inspectable(question: Question, variant: catalogue.Variant) -> None:
    if question.kind == "inspection" and variant.build:
        raise InvalidParameter(
            "a kernel of one's own keeps its state to itself: ask for its divergence from a "
            "variant of the model instead"
        )


def _simulators(session: Session, variants: Sequence[catalogue.Variant]) -> list[str]:
    # A verification needs no engine, and so no worker that has one.
    offered = simulators.current(session) if variants else {}
    for variant in variants:
        if variant.engine not in offered:
            raise NoSimulator(f"no worker offers engine {variant.engine}, so nobody would answer")
    return [offered[variant.engine] for variant in variants]


def detail_of(session: Session, row: QuestionRow) -> QuestionDetail:
    """A row as JSON, with its answer if it is there."""
    [summary] = summaries_of(session, [row])
    body = documents.body_of(session, row.document_digest) if row.state == "done" else None
    told: dict[str, Any] = {"answer": None, "text": None} if body is None else msgpack.unpackb(body)
    return QuestionDetail.model_validate(summary.model_dump() | told)


def summaries_of(session: Session, rows: Sequence[QuestionRow]) -> list[QuestionSummary]:
    """Rows as JSON; the number of queries does not depend on theirs."""
    made_by = accounts.makers(session, rows)
    known = patch_sets.variants_of(
        session, {digest for row in rows for digest in row.asked["variants"]}
    )
    return [
        QuestionSummary.model_validate(
            {
                "id": row.id,
                "kind": row.kind,
                "trace": row.trace,
                "variants": [known[digest] for digest in row.asked["variants"]],
                "options": Question.from_dict(row.asked["question"]).to_request(),
                "state": row.state,
                "error": row.error,
                "document": row.document_digest,
                "bytes_done": row.units_done,
                "bytes_total": row.units_total,
                "attempt": row.attempt,
                "made_by": made_by.get(row.id),
                "created_at": row.created_at,
                "started_at": row.started_at,
                "finished_at": row.finished_at,
            }
        )
        for row in rows
    ]
