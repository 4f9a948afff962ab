"""How every verb finds the service and its token.

The address: ``--url``, else ``REFAULT_URL``, else the service that runs in the
data folder (``REFAULT_DATA``, by default ``.refault`` here), else
``http://127.0.0.1:8000``. A data folder may have come with somebody's
repository, so what it names must be an address of this machine.

The token, which goes to no other address than the one it was made for:

==========================  ==============================================================
``--token``                 the address of the command, whichever that is
``REFAULT_TOKEN``           ``REFAULT_URL``; where that is not set, the address of ``--url``
                            or the usual one, never one that was found in a folder
the data folder's own       the service of the data folder
``~/.config/refault/token`` of its lines ``ADDRESS TOKEN``, the one of that address
==========================  ==============================================================

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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from refault.errors import InvalidRequest, Refused

if TYPE_CHECKING:
    from refault.client import Client

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_MAX_S = 86_400.0
# More than any list of tokens or description of a service comes to.
_FILE_LENGTH_MAX = 1 << 16
_UNAUTHENTICATED = 401

WithUrl = Annotated[
    str,
    typer.Option(
        "--url",
        help="Address of the service; default: REFAULT_URL, else the one `make serve` runs here.",
        show_default=False,
    ),
]
WithToken = Annotated[
    str,
    typer.Option(
        "--token",
        help="API token; default: REFAULT_TOKEN if it is for this address, else the file "
        "~/.config/refault/token.",
        show_default=False,
    ),
]
WithTimeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        help="Seconds to wait for each answer of the service.",
        min=0.1,
        max=TIMEOUT_MAX_S,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


class Place(NamedTuple):
    """The address of the service, and the token for it if there is one."""

    url: str
    token: str | None


def find(url: str = "", token: str = "") -> Place:
    """Where the service is, from what was given and what lies on this machine.

    ``InvalidRequest`` for an address that is none, or that a folder names and is not of this
    machine; and for a token file that others may read or that does not say whose a token is.
    """
    return _found(url, token)[0]


def _found(url: str, token: str) -> tuple[Place, str]:
    """As :func:`find`, and why a token that was given is not sent there, if so."""
    home = _usual(os.environ.get("REFAULT_URL", ""), "REFAULT_URL")
    local = _local()
    given = _usual(url, "--url") or home
    address = given or (_trusted(local) if local else DEFAULT_URL)
    if token.strip():
        return Place(address, token.strip()), ""
    token = os.environ.get("REFAULT_TOKEN", "").strip()
    is_found = not given and local is not None
    withheld = ""
    if token and home and not _is_same(home, address):
        withheld = f"REFAULT_TOKEN was not sent: it is the token of REFAULT_URL, {home}"
    elif token and not home and is_found:
        withheld = (
            f"REFAULT_TOKEN was not sent to {address}, found in a folder: set REFAULT_URL too"
        )
    elif token:
        return Place(address, token), ""
    if local is not None and local.token and _is_same(local.url, address):
        return Place(address, local.token), ""
    return Place(address, _kept_token(address)), withheld


@contextmanager
def connect(url: str = "", token: str = "", timeout: float = 60.0) -> Iterator[Client]:
    """A client of the service that :func:`find` finds."""
    from refault.client import Client

    place, withheld = _found(url, token)
    with Client(place.url, token=place.token, timeout_s=timeout) as client:
        try:
            yield client
        except Refused as error:
            if error.status != _UNAUTHENTICATED or not withheld:
                raise
            message = f"{error}\n{withheld}"
            raise Refused(message, status=error.status, problem=error.problem) from error


def link_to(client: Client, code: str) -> str:
    """The short address of a batch's page."""
    return f"{client.base_url}/b/{code.removeprefix('b-')}"


def token_file() -> Path:
    """The file that keeps tokens between uses."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "refault" / "token"


def _usual(url: str, source: str) -> str:
    """The address as it is used: scheme, host and port, and perhaps a path; or empty."""
    from refault.client import connection

    if url:
        try:
            connection.address_of(url)
        except InvalidRequest:
            message = f"{source} {url}: not an address; it looks like {DEFAULT_URL}"
            raise InvalidRequest(message) from None
    return url.rstrip("/")


def _is_same(url: str, other: str) -> bool:
    from refault.client import connection

    return connection.address_of(url) == connection.address_of(other)


def _trusted(local: Place) -> str:
    """The address a data folder names, if it is one of this machine."""
    from refault.client import connection

    if connection.is_loopback(local.url):
        return local.url
    raise InvalidRequest(
        f"{_local_file()}: {local.url} is not an address of this machine, so nothing is sent "
        "there; remove the file, or name the service by --url"
    )


def _local_file() -> Path:
    return Path(os.environ.get("REFAULT_DATA") or ".refault") / "run" / "service.json"


def _local() -> Place | None:
    """The service that runs in the data folder of this folder, if one is described there."""
    from refault.client import connection

    try:
        told = json.loads(_text(_local_file()))
        url, token = told["url"], told.get("token")
        connection.address_of(url)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    except InvalidRequest:
        return None
    return Place(url.rstrip("/"), token if isinstance(token, str) else None)


def _kept_token(address: str) -> str | None:
    """The token that is kept for an address."""
    path = token_file()
    try:
        if path.stat().st_mode & 0o077:
            raise InvalidRequest(f"{path}: others may read this token; run: chmod 600 {path}")
        lines = _text(path).splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: the token cannot be read: {error}") from error
    kept = None
    for number, line in enumerate(lines, 1):
        match line.split():
            case []:
                continue
            case [url, token] if "://" in url:
                if _is_same(_usual(url, f"{path}: line {number}:"), address):
                    kept = token
            case _:
                raise InvalidRequest(
                    f"{path}: line {number}: expected the address of a service and its token, "
                    f"such as: {DEFAULT_URL} TOKEN"
                )
    return kept


def _text(path: Path) -> str:
    """A small file; one that is too large, or none at all, is an ``OSError``."""
    if path.exists() and not path.is_file():
        raise OSError("not a file")
    with path.open("rb") as file:
        data = file.read(_FILE_LENGTH_MAX + 1)
    if len(data) > _FILE_LENGTH_MAX:
        raise OSError(f"longer than {_FILE_LENGTH_MAX} bytes")
    return data.decode("utf-8")
