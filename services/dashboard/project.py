"""The page of a project: people, tokens, thresholds, limits, webhooks; and its audit log.

Everything is read from the API and written by it: each form is passed on with the form key of its
login. A refusal is shown beside the field it is about, with what was typed.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from refault.client import AsyncClient
from refault.client.calls import ROOT
from refault.errors import Refused
from services.dashboard.doors import fields_of, onwards
from services.dashboard.formats import grouped, size
from services.dashboard.limit_text import LimitTextError, limit_of, text_of
from services.dashboard.pages import Pages

ROLES = ("viewer", "contributor", "maintainer")
SCOPES = ("read", "upload", "submit", "build", "admin")
EVENTS = ("batch.finished", "batch.failed", "integrity.alarm")
BUILD_ROLES = ("nobody", "maintainer", "contributor")
_AUDIT_ROWS = 50
_UNAUTHENTICATED = 401
_DAYS_MAX_DIGITS = 9
_TOKEN_DAYS = 90
# What quotas bound: what it is called, and how its numbers are written.
_USED: dict[str, tuple[str, Callable[[int], str]]] = {
    "bytes": ("Files of traces, trees and kernels", size),
    "traces": ("Traces", grouped),
    "queued_runs": ("Runs that wait", grouped),
}


class FormError(Exception):
    """A field of a form that cannot be sent to the API."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


class HalfDoneError(Exception):
    """A form that made a secret, and was then refused in what came after."""

    def __init__(self, made: "Made", field: str, message: str) -> None:
        self.made, self.field = made, field
        super().__init__(message)


class Made(NamedTuple):
    """What a form made that is shown only once: what it is, and the secret."""

    what: str
    name: str
    secret: str


class Failed(NamedTuple):
    """A form that was refused: its name, what was typed, and the errors by field."""

    form: str
    fields: Mapping[str, str]
    errors: Mapping[str, str]
    status: int


_Act = Callable[[AsyncClient, Mapping[str, str]], Awaitable[Made | None]]


class ProjectPages:
    """The pages under ``/project``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Where they are; ``POST /project`` itself chooses the project of a login."""
        return [
            Route("/project", self.project, methods=["GET"]),
            Route("/project/audit", self.audit),
            Route("/project/{form}", self.change, methods=["POST"]),
        ]

    async def project(self, request: Request) -> Response:
        """The project of the caller; forms for whoever may use them."""
        return HTMLResponse(await self._page(request))

    async def change(self, request: Request) -> Response:
        """One of the page's forms."""
        form = request.path_params["form"]
        act = _FORMS.get(form)
        if act is None:
            raise HTTPException(404, f"the project's page has no form {form}")
        fields = await fields_of(request)
        made: Made | None = None
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            try:
                made = await act(client, fields)
            except FormError as error:
                failed = Failed(form, fields, {error.field: str(error)}, 422)
            except HalfDoneError as error:
                made = error.made
                failed = Failed(form, fields, {error.field: str(error)}, 422)
            except Refused as error:
                if error.status == _UNAUTHENTICATED:
                    raise
                failed = Failed(form, fields, _errors_of(error), error.status)
            else:
                if made is None:
                    return onwards(f"/project#{form.partition('-')[0]}")
                return HTMLResponse(await self._page(request, made=made), 201)
        # What was made before it failed is shown too: its secret is never shown again.
        return HTMLResponse(await self._page(request, made=made, failed=failed), failed.status)

    async def audit(self, request: Request) -> Response:
        """Who did what, newest first; ``?actor=`` and ``?action=`` narrow it."""
        query = request.query_params
        asked = {name: query.get(name, "").strip() for name in ("actor", "action")}
        async with self._pages.client(request) as client:
            me = await client.get_me()
            found = await client.list_audit(
                limit=_AUDIT_ROWS,
                cursor=query.get("cursor"),
                actor=asked["actor"] or None,
                action=asked["action"] or None,
            )
        kept = {name: value for name, value in asked.items() if value}
        older = {**kept, "cursor": found["next_cursor"]} if found["next_cursor"] else None
        return await self._pages.page(
            "audit.html",
            me=me,
            asked=asked,
            rows=[row | {"told": _details(row)} for row in found["items"]],
            older="?" + urlencode(older) if older else "",
            first="?" + urlencode(kept) if query.get("cursor") else "",
        )

    async def _page(
        self, request: Request, *, made: Made | None = None, failed: Failed | None = None
    ) -> str:
        async with self._pages.client(request) as client:
            me = await client.get_me()
            if not me["project"]:
                return self._pages.text("no_project.html", me=me, request_id=None)
            values = await _shown(client, me)
        return self._pages.text("project.html", me=me, made=made, failed=failed, **values)


def _details(row: Mapping[str, Any]) -> str:
    """What an entry of the audit log says beyond its other columns."""
    said = {row["subject"], f"{ROOT}{row['action'].partition(' ')[2]}"}
    return ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in row["detail"].items()
        if value is not None and not (name == "path" and value in said)
    )


async def _shown(client: AsyncClient, me: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller may see of the project."""
    is_admin = "admin" in me["scopes"]
    projects = await client.list_projects()
    thresholds = await client.get_thresholds()
    hooks = (await client.list_webhooks(limit=20))["items"] if is_admin else []
    tokens = (await client.list_tokens())["items"]
    limits = thresholds["limits"]
    return {
        "project": next(each for each in projects["items"] if each["name"] == me["project"]),
        "members": (await client.list_members())["items"],
        "tokens": [token for token in tokens if not token["revoked_at"]],
        "thresholds": [
            {
                "name": name,
                "text": text_of(limits.get(name)),
                "is_own": name in limits,
            }
            for name in thresholds["counters"]
        ],
        "known_limits": [f"limit-{name}" for name in thresholds["counters"]],
        "usual": thresholds["default"],
        "limits": await client.get_limits(),
        "usage": _usage(await client.get_usage()),
        "retention": await client.get_retention(),
        "hooks": [await client.get_webhook(hook["id"]) for hook in hooks],
        "users": (await client.list_users())["items"] if me["is_admin"] and me["user"] else None,
        "may_admin": is_admin and bool(me["form_key"]),
        "may_mint": bool(me["form_key"] and me["user"]),
        "sees_admin": is_admin,
        "roles": ROLES,
        "build_roles": BUILD_ROLES,
        "events": EVENTS,
        "scopes": [scope for scope in SCOPES if scope in me["scopes"]],
    }


def _usage(usage: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the project has of what its quotas bound: one row each, with a bar where one bounds."""
    rows = []
    for name, (title, told) in _USED.items():
        found = usage[name]
        quota, has = found["quota"], found["used"] + found["unfinished"]
        rows.append(
            {
                "title": title,
                "used": told(found["used"]),
                "unfinished": told(found["unfinished"]) if found["unfinished"] else "",
                "quota": "no bound" if quota is None else told(quota),
                "share": None if quota is None else f"{100 * has / quota:.0f} %",
                "has": has,
                "most": quota,
                "is_full": quota is not None and has >= quota,
            }
        )
    return rows


def _errors_of(error: Refused) -> dict[str, str]:
    """The refusal by field; under the empty name what is about none."""
    found: dict[str, str] = {}
    places = error.problem.get("errors")
    for place in places if isinstance(places, list) else []:
        parts = str(place.get("pointer") or "").split("/")[1:]
        name = f"limit-{parts[1]}" if parts[:1] == ["limits"] and len(parts) > 1 else parts[:1]
        found["".join(name)] = str(place.get("detail", ""))
    return found or {"": str(error)}


def _whole(fields: Mapping[str, str], name: str) -> int | None:
    """A whole number, or None where the field is empty."""
    text = fields.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _DAYS_MAX_DIGITS):
        raise FormError(name, f"{text[:20]}: expected a whole number, or nothing")
    return int(text)


def _ticked(fields: Mapping[str, str], prefix: str, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if f"{prefix}-{name}" in fields]


async def _set_member(client: AsyncClient, fields: Mapping[str, str]) -> None:
    user = fields.get("user", "").strip()
    if not user:
        raise FormError("user", "whose name?")
    try:
        await client.set_member(user, fields.get("role", ""))
    except Refused as error:
        if error.status == 404:  # noqa: PLR2004
            message = f"there is no user {user}: an administrator makes users"
            raise FormError("user", message) from error
        raise


async def _remove_member(client: AsyncClient, fields: Mapping[str, str]) -> None:
    await client.remove_member(fields.get("user", ""))


async def _mint_token(client: AsyncClient, fields: Mapping[str, str]) -> Made:
    scopes = _ticked(fields, "scope", SCOPES)
    if not scopes:
        raise FormError("scopes", "choose at least one scope")
    days = _whole(fields, "lifetime_days")
    name = fields.get("name", "").strip()
    lifetime = _TOKEN_DAYS if days is None else days
    token = await client.mint_token(name, scopes=scopes, lifetime_days=lifetime)
    return Made("token", token["name"], token["secret"])


async def _revoke_token(client: AsyncClient, fields: Mapping[str, str]) -> None:
    await client.revoke_token(fields.get("token", ""))


async def _set_thresholds(client: AsyncClient, fields: Mapping[str, str]) -> None:
    limits = {}
    for field, text in fields.items():
        prefix, _, counter = field.partition("-")
        if prefix != "limit" or not text.strip():
            continue
        try:
            limits[counter] = limit_of(text)
        except LimitTextError as error:
            raise FormError(field, str(error)) from error
    await client.set_thresholds(limits)


async def _set_retention(client: AsyncClient, fields: Mapping[str, str]) -> None:
    await client.set_retention(_whole(fields, "days"))


async def _set_limits(client: AsyncClient, fields: Mapping[str, str]) -> None:
    await client.set_limits(_whole(fields, "shard_seconds"), fields.get("build_role") or None)


async def _create_webhook(client: AsyncClient, fields: Mapping[str, str]) -> Made:
    events = _ticked(fields, "event", EVENTS)
    if not events:
        raise FormError("events", "choose at least one event")
    hook = await client.create_webhook(fields.get("url", "").strip(), events=events)
    return Made("webhook", hook["url"], hook["secret"])


async def _delete_webhook(client: AsyncClient, fields: Mapping[str, str]) -> None:
    await client.delete_webhook(fields.get("webhook", ""))


async def _create_user(client: AsyncClient, fields: Mapping[str, str]) -> Made | None:
    name, email = fields.get("name", "").strip(), fields.get("email", "").strip()
    user = await client.create_user(name, email=email or None)
    made = Made("user", name, user["password"]) if user.get("password") else None
    if fields.get("role"):
        try:
            await client.set_member(name, fields["role"])
        except Refused as error:
            if made is None:
                raise
            message = f"{name} was made, but is no member yet: {error}"
            raise HalfDoneError(made, "", message) from error
    return made


_FORMS: dict[str, _Act] = {
    "members": _set_member,
    "members-remove": _remove_member,
    "users": _create_user,
    "tokens": _mint_token,
    "tokens-revoke": _revoke_token,
    "thresholds": _set_thresholds,
    "retention": _set_retention,
    "limits": _set_limits,
    "webhooks": _create_webhook,
    "webhooks-delete": _delete_webhook,
}
