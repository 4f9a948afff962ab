"""The pages around access: login, logout, choosing a project."""

from http import HTTPStatus
from urllib.parse import parse_qs, quote, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from refault.client.connection import SESSION_COOKIE
from refault.errors import Refused
from refault.printable import first_unprintable, printable
from services.dashboard.pages import Pages

_FORM_BYTES_MAX = 16_384
DEVICE_COOKIE = "refault_device"
_DEVICE_SECONDS = 180 * 24 * 3600
_DEVICE_LENGTH_MAX = 100


class Doors:
    """The pages around access; all their data comes from the API as well."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def login(self, request: Request) -> Response:
        """The login form and its POST; redirects to the requested page."""
        if request.method != "POST":
            return await self.form(request, way_on(request.query_params.get("next", "/")))
        fields = await fields_of(request)
        target = way_on(fields.get("next", "/"))
        try:
            async with self._pages.client(request) as client:
                # Failed logins of others do not count against a known browser.
                opened = await client.log_in(
                    fields.get("name", ""),
                    fields.get("password", ""),
                    device=request.cookies.get(DEVICE_COOKIE, "")[:_DEVICE_LENGTH_MAX] or None,
                )
        except Refused as refused:
            return await self.form(request, target, fields.get("name", ""), refused)
        response = logged_in(request, opened["secret"], target)
        if opened["device"]:
            response.set_cookie(
                DEVICE_COOKIE,
                opened["device"],
                max_age=_DEVICE_SECONDS,
                path="/login",
                httponly=True,
                samesite="lax",
                secure=is_encrypted(request),
            )
        return response

    async def logout(self, request: Request) -> Response:
        """Deletes the cookie and ends the login in the service."""
        fields = await fields_of(request)
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            await client.log_out()
        response = onwards("/login")
        response.delete_cookie(
            SESSION_COOKIE, httponly=True, samesite="lax", secure=is_encrypted(request)
        )
        return response

    async def project(self, request: Request) -> Response:
        """Chooses the project of the login."""
        fields = await fields_of(request)
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            await client.choose_project(fields.get("project", ""))
        return onwards("/")

    async def form(
        self, request: Request, target: str, name: str = "", refused: Refused | None = None
    ) -> Response:
        """The login form, with the error of the last attempt."""
        async with self._pages.client(request, token=None) as client:
            offer = await client.get_oidc()
        body = self._pages.text(
            "login.html",
            me=None,
            target=target,
            name=name,
            issuer=offer["name"],
            complaint=str(refused) if refused else None,
        )
        status = refused.status if refused else 200
        headers = {}
        if refused is not None and status == HTTPStatus.TOO_MANY_REQUESTS:
            headers["retry-after"] = "300"
        return HTMLResponse(body, status, headers)


def logged_in(request: Request, secret: str, target: str) -> Response:
    """Redirects with the cookie of a login."""
    response = onwards(target)
    response.set_cookie(
        SESSION_COOKIE, secret, httponly=True, samesite="lax", secure=is_encrypted(request)
    )
    return response


def way_on(target: str) -> str:
    """The target of a login, always an address of this site (no open redirect)."""
    parts = urlsplit(target)
    is_ours = target.startswith("/") and not target.startswith(("//", "/\\"))
    is_plain = target.isascii() and target.isprintable() and "\\" not in target
    return target if is_ours and is_plain and not parts.netloc and not parts.scheme else "/"


def to_login(request: Request) -> Response:
    """Redirects an unauthenticated user to the login form, and from there back."""
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return onwards(f"/login?next={quote(path, safe='')}")


def onwards(target: str) -> Response:
    """Redirects to another page of this site, or to the issuer."""
    # 303: the browser follows with GET, whatever the method was.
    return RedirectResponse(target, HTTPStatus.SEE_OTHER)


def is_encrypted(request: Request) -> bool:
    """Whether the browser uses HTTPS, directly or, by X-Forwarded-Proto, to a proxy."""
    told = request.headers.get("x-forwarded-proto", "")
    return request.url.scheme == "https" or told == "https"


async def fields_of(
    request: Request,
    *,
    lines: frozenset[str] = frozenset(),
    bytes_max: int = _FORM_BYTES_MAX,
) -> dict[str, str]:
    """The fields of a form, each once; those in ``lines`` may have several lines."""
    found = await lists_of(request, lines=lines, bytes_max=bytes_max)
    return {name: values[0] for name, values in found.items()}


async def lists_of(
    request: Request,
    *,
    lines: frozenset[str] = frozenset(),
    bytes_max: int = _FORM_BYTES_MAX,
    fields_max: int = 20,
) -> dict[str, list[str]]:
    """The fields of a form with all their values."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "a form must be application/x-www-form-urlencoded")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise HTTPException(413, f"a form has at most {bytes_max} bytes")
    try:
        found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=fields_max)
    except ValueError as error:
        raise HTTPException(422, "the form cannot be read") from error
    for name, values in found.items():
        if name in lines:
            # As browsers send them.
            values[:] = [text.replace("\r\n", "\n") for text in values]
        wrong = [first_unprintable(text, lines=name in lines) for text in values]
        if any(place is not None for place in (first_unprintable(name), *wrong)):
            raise HTTPException(422, f"{printable(name)}: it has unprintable characters")
    return found
