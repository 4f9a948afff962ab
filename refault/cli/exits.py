"""Exit codes: the one table of what ``refault`` ends with, and what leads there.

Scripts and CI systems act on them, so a number never changes its meaning.
"""

from __future__ import annotations

from enum import IntEnum
from http import HTTPStatus

from refault.errors import RefaultError, Refused, Unavailable


class ExitCode(IntEnum):
    """``MEANINGS`` says what each number means."""

    OK = 0
    ANSWER_IS_NO = 1
    BAD_INPUT = 2
    UNREACHABLE = 3
    REFUSED = 4
    UNFINISHED = 5
    INTERRUPTED = 130
    OUTPUT_LOST = 141
    TERMINATED = 143


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "success",
    ExitCode.ANSWER_IS_NO: "the answer is no: a difference, a finding, a bad verdict",
    ExitCode.BAD_INPUT: "bad input: an option, a file or a patch that cannot be used",
    ExitCode.UNREACHABLE: "the service is unreachable or overloaded; try again later",
    ExitCode.REFUSED: "the service refused: the token, or a thing that does not exist",
    ExitCode.UNFINISHED: "the batch was cancelled, or runs or builds failed: no verdict",
    ExitCode.INTERRUPTED: "Ctrl-C",
    ExitCode.OUTPUT_LOST: "the output was lost: its reader closed the pipe, or the disk is full",
    ExitCode.TERMINATED: "terminated (SIGTERM)",
}

# What may be otherwise in a minute.
_BUSY = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
# The service read the request and found fault with what was given.
_GIVEN = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)


def code_of(error: RefaultError) -> ExitCode:
    """The exit code an error ends the command with."""
    if isinstance(error, Unavailable):
        return ExitCode.UNREACHABLE
    if isinstance(error, Refused):
        if error.status in _BUSY:
            return ExitCode.UNREACHABLE
        return ExitCode.BAD_INPUT if error.status in _GIVEN else ExitCode.REFUSED
    return ExitCode.BAD_INPUT


def epilog() -> str:
    """The table as the help shows it."""
    listed = " · ".join(f"{code.value} {text}" for code, text in MEANINGS.items())
    return f"Exit codes: {listed}."
