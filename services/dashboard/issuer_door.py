"""The redirects of a login by an OpenID issuer.

::

    /login ──► /login/oidc ──► the issuer ──► /login/oidc/callback ──► the requested page
                sets the cookie of this         takes the cookie: only the browser that started
                one login                       the login can finish it, and only once
"""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from refault.errors import Refused
from services.dashboard.doors import Doors, is_encrypted, logged_in, onwards, way_on
from services.dashboard.pages import Pages

COOKIE = "refault_login"
PATH = "/login/oidc"
_COOKIE_SECONDS = 600


class IssuerDoor:
    """The pages of a login by the issuer."""

    def __init__(self, pages: Pages, doors: Doors) -> None:
        self._pages = pages
        self._doors = doors

    async def leave(self, request: Request) -> Response:
        """Redirects the browser to the issuer."""
        target = way_on(request.query_params.get("next", "/"))
        try:
            async with self._pages.client(request) as client:
                begun = await client.begin_oidc(target)
        except Refused as refused:
            return await self._doors.form(request, target, refused=refused)
        response = onwards(begun["location"])
        # "lax", because the issuer's page links back here.
        response.set_cookie(
            COOKIE,
            begun["secret"],
            max_age=_COOKIE_SECONDS,
            path=PATH,
            httponly=True,
            samesite="lax",
            secure=is_encrypted(request),
        )
        return response

    async def come_back(self, request: Request) -> Response:
        """Finishes the login, or shows the form again with the reason."""
        query = request.query_params
        answer = {name: query[name] for name in ("code", "error", "iss") if name in query}
        secret = request.cookies.get(COOKIE, "")
        try:
            async with self._pages.client(request) as client:
                opened = await client.finish_oidc(secret, state=query.get("state", ""), **answer)
        except Refused as refused:
            if refused.status == HTTPStatus.NOT_FOUND:
                raise
            return await self._doors.form(request, "/", refused=refused)
        response = logged_in(request, opened["secret"], way_on(opened["target"]))
        response.delete_cookie(
            COOKIE, path=PATH, httponly=True, samesite="lax", secure=is_encrypted(request)
        )
        return response
