"""Callers: what a token, a login or a share link identifies, and its rights."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.orm import Session
from starlette.requests import Request

from db import secrets
from db.errors import Forbidden
from db.models import Batch, LoginSession, Project, ShareLink, Token, User
from db.models.accounts import SCOPES
from db.models.projects import Made
from db.repositories import accounts, credentials
from db.repositories.credentials import MadeLink, Shown
from db.scope import Maker
from refault.client.connection import SESSION_COOKIE

# Key of the caller in the request's ASGI scope.
CALLER = "refault.caller"
SCOPES_OF_ROLE: Mapping[str, frozenset[str]] = {
    "viewer": frozenset({"read"}),
    "contributor": frozenset({"read", "upload", "submit"}),
    "maintainer": frozenset(SCOPES),
}
# What `build_role` of a project gives and takes; an operator may forbid building altogether.
BUILD = "build"
SCOPES_OF_SHARING = frozenset({"read", "submit"})


@dataclass(frozen=True)
class Caller:
    """The authenticated caller of a request."""

    kind: Literal["token", "session", "link"]
    # As the audit names them: ``user anna``, ``token ci``.
    name: str
    row_id: uuid.UUID
    project_id: uuid.UUID | None
    scopes: frozenset[str]
    user: User | None = None
    role: str | None = None
    # Of a share link: the code of the batch it opens.
    batch: str | None = None
    requests_per_minute: int | None = None
    form_key: str | None = None

    @property
    def maker(self) -> Maker:
        """The maker recorded for what this request creates."""
        return Maker(
            None if self.user is None else self.user.id,
            self.row_id if self.kind == "token" else None,
        )

    def has_made(self, row: Made) -> bool:
        """Whether this caller made it: the same user, with any token, or the same token."""
        if self.kind == "token":
            return row.token_id == self.row_id
        return self.user is not None and row.user_id == self.user.id

    def check_has(self, scope: str, what: str) -> None:
        """Refuses a caller without the scope."""
        if scope not in self.scopes:
            raise Forbidden(f"{what} needs the scope {scope!r}, which {self.name} lacks")

    def check_own(self, row: Made, what: str) -> None:
        """Refuses callers that are neither the maker nor a maintainer."""
        if not ("admin" in self.scopes or self.has_made(row)):
            raise Forbidden(
                f"{what} was made by another caller: only its maker or a maintainer may do this"
            )

    @property
    def is_admin(self) -> bool:
        """Whether the caller is an administrator's login; a token never is."""
        return self.kind == "session" and self.user is not None and self.user.is_admin


def scopes_of(role: str, project: Project) -> frozenset[str]:
    """The scopes of a role in a project, which says itself who builds kernels."""
    scopes = SCOPES_OF_ROLE[role]
    if role == project.build_role:
        scopes |= {BUILD}
    return _may_build(scopes, project)


def _may_build(scopes: frozenset[str], project: Project) -> frozenset[str]:
    return scopes - {BUILD} if project.build_role == "nobody" else scopes


def secret_of(request: Request) -> str:
    """The secret of a request; ``?`` for a malformed one, empty if there is none."""
    given = request.headers.getlist("authorization")
    if given:
        scheme, _, secret = given[0].partition(" ")
        is_bearer = len(given) == 1 and scheme.lower() == "bearer"
        secret = secret.strip()
        return secret if is_bearer and not secret.startswith(secrets.SESSION) else "?"
    cookie = request.cookies.get(SESSION_COOKIE, "")
    return cookie if not cookie or cookie.startswith(secrets.SESSION) else "?"


def identify(session: Session, secret: str) -> Caller | None:
    """The caller with this secret; None if it is not valid now."""
    found = credentials.find(session, secret)
    if found is None:
        return None
    row, user = found.row, found.user
    rate = found.project.requests_per_minute if found.project else None
    match row:
        case ShareLink():
            if not may_share(credentials.with_maker(session, row)):
                return None
            return Caller(
                "link", f"share link {row.id}", row.id, row.project_id, frozenset({"read"}),
                batch=session.get_one(Batch, row.batch_id).code, requests_per_minute=rate,
            )  # fmt: skip
        case Token():
            project = session.get_one(Project, row.project_id)
            scopes = _may_build(frozenset(row.scopes), project)
            if user is not None:
                role = _role(session, user, row.project_id)
                if role is None:
                    return None
                scopes &= scopes_of(role, project)
            credentials.note_use(session, row)
            return Caller(
                "token", f"token {row.name}", row.id, row.project_id, scopes,
                user=user, requests_per_minute=rate,
            )  # fmt: skip
    return _logged_in(session, found, row, secret)


def may_share(made: MadeLink) -> bool:
    """Whether the maker of a link could still make it; else it is suspended.

    A link of an earlier release, whose maker is unknown, lasts until it expires.
    """
    scopes = frozenset(SCOPES)
    if made.row.token_id is not None:
        if made.token is None:
            return False
        scopes &= frozenset(made.token.scopes)
    if made.row.user_id is not None:
        if made.user is None or made.user.disabled_at is not None:
            return False
        role = made.membership.role if made.membership else None
        role = "maintainer" if made.user.is_admin else role
        scopes &= SCOPES_OF_ROLE[role] if role else frozenset()
    return scopes >= SCOPES_OF_SHARING


def _logged_in(session: Session, found: Shown, row: LoginSession, secret: str) -> Caller | None:
    user, project = found.user, found.project
    if user is None:
        return None
    role = _role(session, user, project.id) if project else None
    return Caller(
        "session", f"user {user.name}", row.id, row.project_id if role else None,
        scopes_of(role, project) if role and project else frozenset(),
        user=user, role=role, form_key=secrets.form_key(secret),
        requests_per_minute=project.requests_per_minute if project else None,
    )  # fmt: skip


def _role(session: Session, user: User, project_id: uuid.UUID) -> str | None:
    return "maintainer" if user.is_admin else accounts.role_in(session, user.id, project_id)
