"""The first account of a local service: created at the first start, kept in the data folder.

::

    DATA/access.json    {"user": "admin", "password": ..., "token": ...}    mode 600

Nothing in it has a default. If the file is lost, the next start creates another password and token
for the same user and revokes the lost ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db import session
from db.models import FIRST_PROJECT, User
from db.models.accounts import SCOPES
from db.repositories import accounts, audit, credentials
from services.api import passwords
from services.local.errors import StackError
from services.local.folder import DataFolder

FILE = "access.json"
USER = "admin"
_TOKEN_NAME = "this machine"  # noqa: S105  # its name


@dataclasses.dataclass(frozen=True)
class FirstAccount:
    """The credentials of a local service."""

    user: str
    password: str = dataclasses.field(repr=False)
    token: str = dataclasses.field(repr=False)

    @classmethod
    def ensure(cls, folder: DataFolder, engine: sa.Engine) -> FirstAccount:
        """The credentials in the folder, if they are still valid; else new ones."""
        path = folder.path(FILE)
        with contextlib.suppress(FileNotFoundError):
            try:
                kept = cls(**json.loads(path.read_text()))
            except (ValueError, TypeError) as error:
                raise StackError(
                    f"{path} is damaged ({error}). Remove it: the next start creates another"
                ) from error
            with session.transaction(engine) as opened:
                if credentials.find(opened, kept.token) is not None:
                    return kept
        with session.transaction(engine, FIRST_PROJECT) as opened:
            made = _make(opened)
        folder.write_private(path, json.dumps(dataclasses.asdict(made), indent=2) + "\n")
        return made


def _make(opened: Session) -> FirstAccount:
    password = passwords.generated()
    user = accounts.find_user(opened, USER)
    if user is None:
        user = accounts.add_user(opened, USER, is_admin=True)
    user.password_hash = passwords.hashed(password)
    accounts.set_role(opened, FIRST_PROJECT, user, "maintainer")
    _close_older(opened, user)
    _, token = credentials.mint_token(opened, _TOKEN_NAME, scopes=SCOPES, user_id=user.id)
    audit.note(
        opened,
        actor="this machine",
        action="make access",
        subject=USER,
        project_id=FIRST_PROJECT,
    )
    return FirstAccount(user=USER, password=password, token=token)


def _close_older(opened: Session, user: User) -> None:
    credentials.revoke_sessions(opened, user)
    for token in credentials.tokens(opened, user.id):
        if token.name == _TOKEN_NAME:
            credentials.revoke(opened, token)
