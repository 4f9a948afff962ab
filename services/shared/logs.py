"""The log of every process: one JSON object per line, on standard output.

::

    {"time": "2026-11-25T00:10:00.123Z", "level": "info", "logger": "refault.api", "room": "api",
     "message": "batch b-7k3f: 6 shards", "request_id": "5f2c8a1be0d94c37", "batch": "b-7k3f"}

A request has an id; a batch keeps that of the request that planned it, and
workers log it with its shards. So one id finds every line about an error or a
submission, whichever process wrote it.

Our secrets are redacted from every line (``db/secrets.py``): a share link is
part of its address, and addresses are logged.

Standard error has only the last output of a process that dies, which is kept
in its shard's row (:mod:`worker.stderr`).
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from db import secrets

_bound: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("log_fields")


@contextlib.contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Adds these fields to every line of this thread or task inside the block; None is omitted."""
    known = {name: value for name, value in fields.items() if value is not None}
    token = _bound.set({**_bound.get({}), **known})
    try:
        yield
    finally:
        _bound.reset(token)


def field(name: str) -> Any:
    """A bound field, or None."""
    return _bound.get({}).get(name)


class JsonLines(logging.Formatter):
    """A record as one JSON object; ``extra={"fields": {...}}`` adds to it."""

    def __init__(self, room: str) -> None:
        super().__init__()
        self._room = room

    def format(self, record: logging.LogRecord) -> str:
        """Never raises: a value JSON cannot hold is written as text."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "room": self._room,
            "pid": record.process,
            "message": record.getMessage(),
            **_bound.get({}),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return secrets.hidden(json.dumps(line, ensure_ascii=False, default=str))


def configuration(room: str, level: str) -> dict[str, Any]:
    """For :func:`logging.config.dictConfig`, and for servers that call it themselves."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "services.shared.logs.JsonLines", "room": room}},
        "handlers": {
            "lines": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                # Not sys.stdout: Celery may have replaced it.
                "stream": sys.__stdout__,
            }
        },
        "root": {"handlers": ["lines"], "level": level.upper()},
        "loggers": {
            # Otherwise they add handlers of their own, or log every request of ours.
            "_granian": {"handlers": [], "propagate": True, "level": level.upper()},
            "httpx": {"level": "WARNING"},
            "alembic": {"level": "WARNING"},
        },
    }
