"""How every verb finds the service, and who it says it is.

The address: ``--url``, else ``REFAULT_URL``, else the service that runs in the
data folder (``REFAULT_DATA``, by default ``.refault`` here), else
``http://127.0.0.1:8000``. The token: ``--token``, else ``REFAULT_TOKEN``, else
the file ``$XDG_CONFIG_HOME/refault/token``; the service of the data folder
brings its own along.

    @app.command()
    def verb(*, url: WithUrl = "", token: WithToken = "", timeout: WithTimeout = 60.0) -> None:
        with connect(url, token, timeout) as client:
            client.list_traces()

Whatever the client raises is a ``RefaultError``; ``main`` makes one line of it
and an exit code of ``exits``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import urlsplit

import typer

from refault.errors import InvalidRequest

if TYPE_CHECKING:
    from refault.client import Client

DEFAULT_URL = "http://127.0.0.1:8000"

WithUrl = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="REFAULT_URL",
        help="Address of the service; default: the one `make serve` runs here.",
        show_default=False,
    ),
]
WithToken = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="REFAULT_TOKEN",
        help="API token; default: the file ~/.config/refault/token.",
        show_default=False,
    ),
]
WithTimeout = Annotated[
    float,
    typer.Option("--timeout", help="Seconds to wait for each answer of the service.", min=0.1),
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


class Place(NamedTuple):
    """Where the service is and what opens it; ``token`` None where there is none."""

    url: str
    token: str | None


def find(url: str = "", token: str = "") -> Place:
    """Where the service is, from what was given and what lies on this machine.

    ``InvalidRequest`` for an address that is none or a token file that others may read.
    """
    local = _local()
    if url:
        found = Place(_checked(url), None)
        if local is not None and found.url == local.url:
            found = local
    else:
        found = local or Place(DEFAULT_URL, None)
    return Place(found.url, token.strip() or found.token or _kept_token())


def connect(url: str = "", token: str = "", timeout: float = 60.0) -> Client:
    """A client of the service that :func:`find` finds; a context manager."""
    from refault.client import Client

    place = find(url, token)
    return Client(place.url, token=place.token, timeout_s=timeout)


def token_file() -> Path:
    """Where a token is kept for every use."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "refault" / "token"


def _checked(url: str) -> str:
    """The address as it is used: scheme, host and port, and perhaps a path."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname)
        is_address = is_address and (parts.port is None or parts.port > 0)
    except ValueError:
        is_address = False
    if not is_address:
        raise InvalidRequest(f"--url {url}: not an address; it looks like {DEFAULT_URL}")
    return url.rstrip("/")


def _local() -> Place | None:
    """The service that runs in the data folder of this folder."""
    data = Path(os.environ.get("REFAULT_DATA") or ".refault")
    try:
        told = json.loads((data / "run" / "service.json").read_text(encoding="utf-8"))
        url, token = told["url"], told.get("token")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not isinstance(url, str):
        return None
    return Place(url.rstrip("/"), token if isinstance(token, str) else None)


def _kept_token() -> str | None:
    path = token_file()
    try:
        if path.stat().st_mode & 0o077:
            raise InvalidRequest(f"{path}: others may read this token; run: chmod 600 {path}")
        words = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: the token cannot be read: {error}") from error
    if len(words) != 1:
        raise InvalidRequest(f"{path}: expected one token and nothing else")
    return words[0]
