"""The pages of questions: the list, a form to ask one, one with its answer."""

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from refault.audits import Level
from refault.client.question_calls import OPEN_STATES
from refault.client.question_documents import QuestionDocument
from refault.errors import InvalidParameter
from refault.questions import OUTCOME, Between, Itself, Question, Where
from services.dashboard.answers import answer_of
from services.dashboard.doors import fields_of, onwards
from services.dashboard.pages import ROWS, Pages
from services.dashboard.verdicts import state_sign

_SCOPE = "submit"
KINDS = ("inspection", "divergence", "audit", "verification")
#: Fields of the form that are numbers, and those among them that may be hexadecimal.
_NUMBERS = ("operation", "gva", "gfn", "page", "vcpu")
_TEXTS = ("until",)
_FIELDS = ("trace", "variant", "second", "on", "level", *_NUMBERS, *_TEXTS)
_LENGTH_MAX = 2_000


class QuestionPages:
    """The pages under ``/questions``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def list(self, request: Request) -> Response:
        """The questions of the project, newest first."""
        async with self._pages.client(request) as client:
            me = await client.get_me()
            found = await client.list_questions(
                limit=ROWS, cursor=request.query_params.get("after")
            )
        rows = [_row(question) for question in found["items"]]
        return await self._pages.page(
            "questions.html", me=me, rows=rows, next_cursor=found["next_cursor"]
        )

    async def new(self, request: Request) -> Response:
        """A form, filled from the query: links lead here from findings."""
        async with self._pages.client(request) as client:
            me = await client.get_me()
            traces = await client.list_traces(limit=ROWS)
        return await self._pages.page(
            "question_new.html",
            me=me,
            asked=_asked_for(request.query_params),
            traces=traces["items"],
            may_ask=_may_ask(me),
        )

    async def ask(self, request: Request) -> Response:
        """Asks what the form says, and leads to the question."""
        fields = await fields_of(request)
        asked = _asked_for(fields)
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            try:
                question = question_of(asked)
            except InvalidParameter as error:
                raise HTTPException(422, str(error)) from error
            variants = [asked["variant"], asked["second"]][: question.variant_count]
            found = await client.ask(question, asked["trace"], *variants)
        return onwards(f"/questions/{found['id']}")

    async def one(self, request: Request) -> Response:
        """One question; it loads itself again until it is answered."""
        async with self._pages.client(request) as client:
            me = await client.get_me()
            question = await client.get_question(request.path_params["question"])
        return await self._pages.page_in_thread(
            "question.html",
            lambda: {
                "me": me,
                "question": _row(question),
                "text": question.get("text"),
                "answer": answer_of(question),
                "may_ask": _may_ask(me),
                "steps": _steps(question),
            },
        )


def question_of(asked: Mapping[str, str]) -> Question:
    """The question of a form's fields; raises InvalidParameter naming the field."""
    kind = asked["kind"]
    if kind == "audit":
        return Question(Level(asked["level"] or "flush"))
    if kind == "divergence":
        return Question(Between(asked["on"] or OUTCOME))
    if kind == "verification":
        return Question(Itself())
    given: dict[str, Any] = {name: _number(name, asked[name]) for name in _NUMBERS}
    return Question(Where(until=asked["until"] or None, **given))


def _number(name: str, text: str) -> int | None:
    if not text.strip():
        return None
    try:
        return int(text.strip(), 0)
    except ValueError:
        message = f"{name} {text[:40]!r}: expected a number, such as 0x400000 or 1024"
        raise InvalidParameter(message) from None


def _asked_for(given: Mapping[str, str]) -> dict[str, str]:
    """The fields of a question, those that are missing empty; a 422 where one is too long."""
    asked = {name: given.get(name, "").strip() for name in _FIELDS}
    kind = given.get("kind", KINDS[0])
    if kind not in KINDS:
        raise HTTPException(422, f"kind must be one of {', '.join(KINDS)}")
    for name, text in asked.items():
        if len(text) > _LENGTH_MAX:
            raise HTTPException(422, f"{name} has more than {_LENGTH_MAX} characters")
    return asked | {"kind": kind}


def _may_ask(me: Mapping[str, Any]) -> bool:
    # A form needs the form key of a login.
    return bool(me["form_key"]) and _SCOPE in me["scopes"]


def _row(question: QuestionDocument) -> dict[str, Any]:
    sign, tone = state_sign(question["state"])
    options = {name: value for name, value in question["options"].items() if value not in (0, "")}
    return {
        "id": question["id"],
        "kind": question["kind"],
        "trace": question["trace"],
        "variants": [variant["text"] for variant in question["variants"]],
        "options": ", ".join(f"{name} {value}" for name, value in options.items())
        or ("every witness" if question["kind"] == "verification" else "the end"),
        "state": question["state"],
        "is_open": question["state"] in OPEN_STATES,
        "sign": sign,
        "tone": tone,
        "error": question["error"],
        "done": question["bytes_done"],
        "total": question["bytes_total"],
        "created_at": question["created_at"],
    }


def _steps(question: QuestionDocument) -> list[dict[str, Any]]:
    """The forms that lead from a view to the next: their buttons, and their fields."""
    answer = question.get("answer")
    if question["kind"] != "inspection" or answer is None:
        return []
    here = int(answer["operation_index"])
    options = question["options"]
    kept: dict[str, Any] = {
        name: options[name] for name in ("gva", "gfn", "page", "vcpu") if name in options
    }
    if "until_change" in options:
        kept["gva"] = options["until_change"]
    fields: dict[str, Any] = {
        "kind": "inspection",
        "trace": question["trace"]["digest"],
        "variant": question["variants"][0]["text"],
        **kept,
    }
    places = [("◀ 100 back", here - 100), ("◀ 1 back", here - 1)]
    places += [("1 on ▶", here + 1), ("100 on ▶", here + 100)]
    return [
        {"button": button, "fields": fields | {"operation": str(place)}}
        for button, place in places
        if place >= 0
    ]
