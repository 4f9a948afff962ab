"""A series from mails in the browser: read, mapped by hand, and made a patch set.

Each step is a form that carries the mails along, so that nothing is kept between two steps.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refault.client import PatchDocument
from refault.errors import Refused
from services.dashboard.doors import onwards
from services.dashboard.form_parts import Form, form_of
from services.dashboard.formats import whole_number
from services.dashboard.pages import Pages

_SCOPE = "submit"
#: So that a form that carries the mails on, encoded, is still read.
MAIL_BYTES_MAX = 640 * 1024
_LONG = frozenset({"text", "kept"})
_MAP = "map-"
_BASE = "v2.6.34-pre"
_KNOWN = {"mapping": "mapped by hand", "diff": "by its diff"}
_COMPLAINED = frozenset({404, 413, 422})


class MailPages:
    """The page ``/patch_sets/read``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """The addresses of this page; before that of one patch set, which would take them."""
        return [
            Route("/patch_sets/read", self.form, methods=["GET"]),
            Route("/patch_sets/read", self.read, methods=["POST"]),
        ]

    async def form(self, request: Request) -> Response:
        """The empty form."""
        async with self._pages.client(request) as client:
            me = await client.get_me()
        return await self._pages.page("mail.html", me=me, may_read=_may_read(me), **_nothing())

    async def read(self, request: Request) -> Response:
        """What the mails are, or the patch set that was made of them."""
        given = await form_of(request, long_fields=_LONG)
        fields = given.fields
        complaint, status, reading = "", 200, None
        mails = b""
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            me = await client.get_me()
            bases = (await client.list_bases())["items"]
            known = (await client.list_patches())["items"]
            try:
                mails = mails_of(given)
                asked: dict[str, Any] = {
                    "version": _version(fields),
                    "mapping": _mapping(fields),
                }
                reading = await client.read_mail(mails, **asked)
                if fields.get("step") == "make":
                    made = await client.read_mail(
                        mails,
                        **asked,
                        name=fields.get("name", "").strip() or reading["series"] or "a series",
                        base=fields.get("base") or _BASE,
                        partial=fields.get("partial") == "yes",
                    )
                    return onwards(f"/patch_sets/{made['patch_set']['id']}")
            except Refused as refused:
                if refused.status not in _COMPLAINED:
                    raise
                complaint, status = str(refused), refused.status
        return await self._pages.page_in_thread(
            "mail.html",
            lambda: {
                "me": me,
                "may_read": _may_read(me),
                "complaint": complaint,
                "reading": reading and _page(reading, known),
                "kept": base64.b64encode(mails).decode() if reading else "",
                "fields": fields,
                "name": fields.get("name") or (reading or {}).get("series") or "",
                "bases": [base["id"] for base in bases if base["knobs"]],
                "base": fields.get("base") or _BASE,
            },
            status=status,
        )


def _nothing() -> dict[str, Any]:
    return {
        "complaint": "",
        "reading": None,
        "kept": "",
        "fields": {},
        "name": "",
        "bases": [],
        "base": "",
    }


def _may_read(me: Mapping[str, Any]) -> bool:
    # A form needs the form key of a login.
    return bool(me["form_key"]) and _SCOPE in me["scopes"]


def mails_of(given: Form) -> bytes:
    """The mails of a file, of a text, or those that an earlier step carries on.

    Raises:
        HTTPException: there are none, or too many bytes of them.
    """
    mails = given.files.get("file", b"")
    # A browser ends the lines of a text field with CR and LF; diffs would match nothing.
    mails = mails or given.fields.get("text", "").strip().replace("\r\n", "\n").encode()
    if not mails and given.fields.get("kept"):
        try:
            mails = base64.b64decode(given.fields["kept"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise HTTPException(422, "kept: the form cannot be read; begin again") from error
    if not mails:
        raise HTTPException(422, "no mails: choose a file, or paste them")
    if len(mails) > MAIL_BYTES_MAX:
        raise HTTPException(
            413,
            f"more than {MAIL_BYTES_MAX // 1024} KiB of mails: send the series only, or use "
            "refault patches read",
        )
    return mails


def _version(fields: Mapping[str, str]) -> int | None:
    text = fields.get("version", "").strip()
    return whole_number(text, "version") if text else None


def _mapping(fields: Mapping[str, str]) -> list[str]:
    """The choices of a reader as the API takes them: ``0=zap-account``, ``1=-``."""
    return [
        f"{name.removeprefix(_MAP)}={choice}"
        for name, choice in fields.items()
        if name.startswith(_MAP) and choice
    ]


def _page(reading: Mapping[str, Any], known: Sequence[PatchDocument]) -> dict[str, Any]:
    ids = [patch["id"] for patch in known]
    patches = [_row(patch, ids) for patch in reading["patches"]]
    return {
        **reading,
        "patches": patches,
        "matched": sum(bool(patch["patch"]) for patch in patches),
        "is_whole": not reading["unmatched"] and any(patch["patch"] for patch in patches),
    }


def _row(patch: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    by_hand = patch["matched_by"] in {None, "mapping", "left out"}
    first = [each for each in patch["candidates"] if each in ids]
    chosen = "-" if patch["matched_by"] == "left out" else patch["patch"] or ""
    return {
        **patch,
        "by_hand": by_hand,
        "known": _KNOWN.get(patch["matched_by"], patch["matched_by"]),
        "chosen": chosen if by_hand else "",
        "choices": [*first, *(each for each in ids if each not in first)],
        "order": f"{patch['number']}/{patch['total']}" if patch["number"] else "–",
    }
