"""The page that makes a kernel: a packed tree, or that of a kernel which is there, and a series.

The tree is at most 16 MiB: it waits in a temporary file while it comes in, since an upload begins
with its size and digest, and is sent to the API as a client would send it.
"""

import base64
import dataclasses
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refault.client import AsyncClient
from refault.client.calls import BuildPlan
from refault.errors import InvalidRequest, Refused
from refault.linux.packed import PACKED_BYTES_MAX
from refault.printable import first_unprintable
from services.dashboard.doors import onwards
from services.dashboard.form_parts import Form
from services.dashboard.formats import whole_number
from services.dashboard.kernels import PLANS, building
from services.dashboard.mails import MAIL_BYTES_MAX, mails_of
from services.dashboard.multipart import FormReader
from services.dashboard.pages import Pages
from services.dashboard.uploading import UNUSABLE, drain

_FIELD_MAX = 400
# Mails carried on, encoded, or pasted.
_LONG = frozenset({"kept", "text"})
_LONG_MAX = MAIL_BYTES_MAX * 4 // 3 + 4
_TREE = "tree"
_KERNELS_SHOWN = 50
_UNAUTHENTICATED = 401


@dataclasses.dataclass
class _Given:
    """What a form says: its fields, its mails, and where its tree lies; None: it has none."""

    fields: dict[str, str] = dataclasses.field(default_factory=dict)
    mails: bytes = b""
    tree: Path | None = None


class KernelForms:
    """The page ``/kernels/new``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Its address; before ``/kernels/{kernel}``."""
        return [Route("/kernels/new", self.make, methods=["GET", "POST"])]

    async def make(self, request: Request) -> Response:
        """The form; with mails that another page carries on; the kernel."""
        given = _Given()
        if request.method != "POST":
            given.fields["tree_of"] = request.query_params.get("tree_of", "")
            return await self._form(request, given)
        try:
            with tempfile.TemporaryDirectory(prefix="refault-tree-") as folder:
                await self._read(request, given, Path(folder))
                if given.fields.get("step") == "carry":
                    return await self._form(request, given)
                key = given.fields.get("form_key", "")
                async with self._pages.client(request, form_key=key) as client:
                    name = await _made(client, given)
                return onwards(f"/kernels/{name}")
        except (Refused, InvalidRequest, HTTPException) as error:
            status = _status_of(error)
            if status == _UNAUTHENTICATED:
                raise
            await drain(request)
            told = error.detail if isinstance(error, HTTPException) else str(error)
            return await self._form(request, given, told, status)

    async def _read(self, request: Request, given: _Given, folder: Path) -> None:
        """Reads the form, from whoever may have kernels built; others send nothing."""
        async with self._pages.client(request) as client:
            me = await client.get_me()
            if not (await building(client, me))["may_build"]:
                raise HTTPException(
                    403, "you may not have kernels built here: a maintainer decides who may"
                )
        files: dict[str, bytes] = {}
        async with aclosing(request.stream()) as body:
            reader = FormReader(request.headers.get("content-type", ""), body)
            while (part := await reader.next_part()) is not None:
                if part.filename is None:
                    given.fields[part.name] = await _text(reader, part.name)
                elif part.name == _TREE and part.filename:
                    given.tree = folder / "tree.tar.xz"
                    await _kept(reader, given.tree)
                elif part.filename:
                    files[part.name] = await _whole(reader)
        if files.get("file") or given.fields.get("text") or given.fields.get("kept"):
            given.mails = mails_of(Form(given.fields, files))

    async def _form(
        self, request: Request, given: _Given, complaint: str = "", status: int = 200
    ) -> Response:
        async with self._pages.client(request) as client:
            me = await client.get_me()
            values = await building(client, me)
            kernels = (await client.list_kernels(limit=_KERNELS_SHOWN))["items"]
        answer = await self._pages.page(
            "kernel_new.html",
            me=me,
            has_forms=bool(me["form_key"]) and values["may_build"],
            complaint=complaint,
            fields={name: text for name, text in given.fields.items() if name not in _LONG},
            mails_bytes=len(given.mails),
            kept=base64.b64encode(given.mails).decode(),
            kernels=kernels,
            plans=PLANS,
            **values,
        )
        answer.status_code = status
        return answer


async def _made(client: AsyncClient, given: _Given) -> str:
    """The name of the kernel that the service made, its tree uploaded unless it is there.

    Raises:
        InvalidRequest: something is missing, or two trees are named.
    """
    fields = given.fields
    name, other = fields.get("name", "").strip(), fields.get("tree_of", "").strip()
    plan = fields.get("plan") or "series"
    if not name:
        raise InvalidRequest("name: give the kernel a name, such as mine-v2")
    if plan not in PLANS:
        raise InvalidRequest(f"plan: expected one of {', '.join(PLANS)}")
    version = fields.get("version", "").strip()
    asked: dict[str, Any] = {
        "sanitize": fields.get("sanitize") == "yes",
        "plan": cast("BuildPlan", plan),
        "version": whole_number(version, "version") if version else None,
    }
    if given.tree is not None:
        pushed = await client.push_kernel(given.tree, name=name, mails=given.mails, **asked)
        return pushed.kernel["name"]
    if not other:
        raise InvalidRequest(
            "tree: choose the file that refault kernel pack wrote, or a kernel that has the tree"
        )
    tree = (await client.get_kernel(other))["tree"]
    return (await client.create_kernel(name, tree, given.mails, **asked))["name"]


async def _text(reader: FormReader, name: str) -> str:
    is_long = name in _LONG
    text = await reader.text_of_part(_LONG_MAX if is_long else _FIELD_MAX)
    if not is_long and first_unprintable(text) is not None:
        raise InvalidRequest("a field has unprintable characters")
    return text


async def _whole(reader: FormReader) -> bytes:
    """The mails of a file, and one byte more than may be of more."""
    held = bytearray()
    async for piece in reader.bytes_of_part():
        held += piece[: MAIL_BYTES_MAX + 1 - len(held)]
    return bytes(held)


async def _kept(reader: FormReader, path: Path) -> None:
    """Writes the tree of a form to a file.

    Raises:
        HTTPException: 413, it is larger than any packed tree.
    """
    left = PACKED_BYTES_MAX
    with path.open("wb") as file:
        async for piece in reader.bytes_of_part():
            left -= len(piece)
            if left < 0:
                raise HTTPException(
                    413,
                    f"tree: a packed tree has at most {PACKED_BYTES_MAX >> 20} MiB; "
                    "refault kernel pack TREE mine.tar.xz writes only what a build reads",
                )
            await anyio.to_thread.run_sync(file.write, piece)


def _status_of(error: Refused | InvalidRequest | HTTPException) -> int:
    if isinstance(error, Refused):
        return error.status
    return error.status_code if isinstance(error, HTTPException) else UNUSABLE
