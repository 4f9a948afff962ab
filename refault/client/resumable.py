"""A large file on its way: sent in parts, gone on with after whatever broke off.

Nothing is remembered here: the service is asked for an unfinished upload of the same digest, so
it may go on from another terminal, machine or day. :func:`steps` decides what to send next and
leaves the sending to the clients, which differ only in that.

::

    known upload of the digest? ── no ──► create
            │ yes                           │
            ▼                               ▼
    go on at its offset ◄─────────────── send a part ──► done: the trace's id, or the tree's digest
            ▲                               │
            └── wait, ask for the offset ◄──┴ broken connection, busy, wrong offset
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, NotRequired, TypedDict
from urllib.parse import quote

import httpx

from refault.client import answers, connection
from refault.client.calls import ROOT
from refault.client.documents import Page
from refault.errors import Refused
from refault.printable import printable

if TYPE_CHECKING:
    from collections.abc import Generator

    from refault.client.uploads import LocalFile

# Smaller files are sent again whole if need be.
LARGE_BYTES = 16 * 1024 * 1024
PART_BYTES = 256 * 1024 * 1024
_OFFSET_DIGITS = 20
PATH = f"{ROOT}/uploads"
TUS = {"tus-resumable": "1.0.0"}
_PART = TUS | {"content-type": "application/offset+octet-stream"}
_ASK_AGAIN = (HTTPStatus.CONFLICT, HTTPStatus.LOCKED)
_BEGIN_AGAIN = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


class _State(TypedDict):
    """What is read of an upload's document."""

    id: str
    state: str
    size_bytes: int
    offset_bytes: int
    error: NotRequired[str | None]
    trace_id: NotRequired[str | None]
    tree: NotRequired[str | None]


@dataclass(frozen=True)
class Step:
    """One request; with ``stop`` above ``start`` its body is that part of the file."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    start: int = 0
    stop: int = 0
    delay_s: float = 0.0


def steps(
    file: LocalFile, base_url: str
) -> Generator[Step, httpx.Response | httpx.TransportError, str]:
    """What to send, one request after another; send in what came of each.

    At last the trace's id, or the tree's digest.

    Raises:
        Refused: the service says no, or the bytes are no good trace or tree.
        Unavailable: connections broke ``connection.RECONNECT_COUNT`` times in a row and no byte
            more became safe; what is safe stays for the next call.
    """
    header, key = file.ANSWER
    place, offset = yield from _begin(file, base_url)
    broken_count, is_new, furthest = 0, False, offset
    while True:
        stop = min(offset + PART_BYTES, file.size_bytes)
        outcome = yield Step(
            "PATCH",
            place,
            _PART | {"upload-offset": str(offset), "content-length": str(stop - offset)},
            start=offset,
            stop=stop,
        )
        if isinstance(outcome, httpx.Response):
            if header in outcome.headers:
                return outcome.headers[header]
            if outcome.status_code in _BEGIN_AGAIN and not is_new:
                place, offset = (yield from _create(file, base_url)), 0
                is_new = True
                continue
            if outcome.status_code not in _ASK_AGAIN:
                answers.raise_for_problem(outcome)
                offset, broken_count = _advanced(outcome, offset, file.size_bytes), 0
                furthest = max(furthest, offset)
                continue
        state, broken_count = yield from _look(place, outcome, broken_count, base_url)
        if state["state"] == "refused":
            raise Refused(printable(str(state.get("error"))), status=422, problem=dict(state))
        if state["state"] == "done":
            return str(state.get(key))
        offset = state["offset_bytes"]
        # More is safe than ever before: an offset that only goes to and fro is no progress.
        if offset > furthest:
            broken_count, furthest = 0, offset


def _look(
    place: str,
    outcome: httpx.Response | httpx.TransportError,
    broken_count: int,
    base_url: str,
) -> Generator[Step, httpx.Response | httpx.TransportError, tuple[_State, int]]:
    """How the upload stands, asked for until somebody answers; and how often nothing went on."""
    while broken_count < connection.RECONNECT_COUNT:
        delay_s = connection.reconnect_delay_s(broken_count)
        broken_count += 1
        asked = yield Step("GET", place, delay_s=delay_s)
        if isinstance(asked, httpx.Response):
            return _fitting(asked, answers.shaped(asked, _State)), broken_count
    raise _given_up(outcome, base_url)


def _begin(
    file: LocalFile, base_url: str
) -> Generator[Step, httpx.Response | httpx.TransportError, tuple[str, int]]:
    """Where to go on with an unfinished upload of the file, or with a new one."""
    outcome = yield Step("GET", PATH, query={"digest": file.digest})
    response = _answered(outcome, base_url)
    for known in answers.shaped(response, Page[_State])["items"]:
        if known["size_bytes"] == file.size_bytes:
            return f"{PATH}/{quote(known['id'], safe='')}", _fitting(response, known)[
                "offset_bytes"
            ]
    return (yield from _create(file, base_url)), 0


def _create(
    file: LocalFile, base_url: str
) -> Generator[Step, httpx.Response | httpx.TransportError, str]:
    metadata = ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in file.words.items()
    )
    headers = {"upload-length": str(file.size_bytes), "upload-metadata": metadata}
    response = _answered((yield Step("POST", PATH, TUS | headers)), base_url)
    answers.raise_for_problem(response)
    try:
        return str(httpx.URL(response.headers["location"]).path)
    except (KeyError, httpx.InvalidURL) as error:
        raise answers.not_ours(response, "answered without the place of the upload") from error


def _advanced(response: httpx.Response, offset: int, size_bytes: int) -> int:
    """How many bytes are safe after a part was taken; more than before, or it would never end."""
    told = response.headers.get("upload-offset", "")
    if told.isascii() and told.isdecimal() and len(told) <= _OFFSET_DIGITS:
        found = int(told)
        if offset < found <= size_bytes:
            return found
    raise answers.not_ours(response, "took a part of the file and named no offset behind it")


def _fitting(response: httpx.Response, state: _State) -> _State:
    """The state of an upload, ``Refused`` if its offset is not inside the file."""
    if not 0 <= state["offset_bytes"] <= state["size_bytes"]:
        raise answers.not_ours(response, "named an offset that is not in the file")
    return state


def _answered(outcome: httpx.Response | httpx.TransportError, base_url: str) -> httpx.Response:
    if isinstance(outcome, httpx.TransportError):
        raise answers.unreachable(outcome, base_url) from outcome
    return outcome


def _given_up(outcome: httpx.Response | httpx.TransportError, base_url: str) -> Exception:
    if isinstance(outcome, httpx.TransportError):
        return answers.unreachable(outcome, base_url)
    try:
        answers.raise_for_problem(outcome)
    except Refused as refused:
        return refused
    return answers.unreachable(httpx.TransportError("the connection keeps breaking"), base_url)
