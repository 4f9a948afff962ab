"""Questions to the service: ``--service`` of ``refault audit``, ``diverge`` and ``inspect``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from refault.cli import names
from refault.cli.progress import Bars, progress_bars
from refault.cli.service import connect
from refault.cli.terminal import print_json
from refault.errors import ReplayRefused

if TYPE_CHECKING:
    from refault.client import Client, TraceDocument
    from refault.client.question_documents import QuestionDocument
    from refault.questions import Question

AtService = Annotated[
    bool,
    typer.Option(
        "--service",
        help="Have a worker of the service answer. TRACE is then one of its traces: an id, a "
        "digest, a name, or the file here; and kernel:NAME one of its kernels.",
    ),
]


class Connection(NamedTuple):
    """Which service is asked, as :func:`refault.cli.service.connect` takes it."""

    url: str
    token: str
    timeout: float


class Asked(NamedTuple):
    """One question with its answer."""

    variants: tuple[str, ...]
    trace: TraceDocument
    found: QuestionDocument


def ask(
    where: Connection,
    question_of: Callable[[TraceDocument], Question],
    words: Sequence[str],
    variants: Sequence[tuple[str, ...]],
    *,
    has_bar: bool,
) -> list[Asked]:
    """The answers to one question of each trace, under each of ``variants``; all are asked at once.

    Raises:
        NotFound: the service has no such trace, or several.
        Refused: it does not take a question.
        ReplayRefused: a question has no answer; with the reason.
    """
    with connect(*where) as client, progress_bars(enabled=has_bar) as bars:
        open_questions = []
        for word in words:
            trace = names.trace(client, word)
            question = question_of(trace)
            for texts in variants:
                found = client.ask(question, trace["digest"], *texts)
                open_questions.append(Asked(texts, trace, found))
        return [_awaited(client, each, bars) for each in open_questions]


def _awaited(client: Client, asked: Asked, bars: Bars) -> Asked:
    of = f"{asked.trace['name']}: {', '.join(asked.variants)}"
    task = bars.add_task(of, total=None)
    found = client.wait_for_question(
        asked.found["id"],
        progress=lambda done, total: bars.update(task, completed=done, total=total or None),
    )
    if found["state"] != "done":
        raise ReplayRefused(f"{of}: {found['error']}")
    return asked._replace(found=found)


def show(asked: Sequence[Asked], *, as_json: bool) -> None:
    """Print the answers: their texts, or as JSON one, or a list of several."""
    if not as_json:
        print("\n".join(each.found.get("text") or "" for each in asked), end="")
        return
    answers = [each.found.get("answer") for each in asked]
    print_json(answers[0] if len(answers) == 1 else answers)
