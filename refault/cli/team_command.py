"""``refault token`` and ``refault member``: who may do what in a project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from refault.cli import tables
from refault.cli.names import is_id
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_json
from refault.client.connection import TIMEOUT_S
from refault.errors import InvalidRequest, NotFound, nearest

SCOPES = ("read", "upload", "submit", "build", "admin")
ROLES = ("viewer", "contributor", "maintainer")

tokens = typer.Typer(
    name="token", help="Tokens of a project.", no_args_is_help=True, rich_markup_mode=None
)
members = typer.Typer(
    name="member", help="Members of a project.", no_args_is_help=True, rich_markup_mode=None
)

WithMember = Annotated[
    str, typer.Argument(help="Name of a user.", metavar="USER", show_default=False)
]
WithRole = Annotated[
    str, typer.Argument(help=f"One of {', '.join(ROLES)}.", metavar="ROLE", show_default=False)
]


@tokens.command("list")
def list_tokens(
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """List the tokens of the project; without the scope admin, only the one that asks.

    Example: refault token list --json
    """
    with connect(url, token, timeout) as client:
        found = client.list_tokens()["items"]
    if as_json:
        print_json(found)
        return
    tables.show(
        ("id", "name", "scopes", "expires", "last used", "state"),
        [
            (
                each["id"],
                each["name"],
                ",".join(each["scopes"]),
                (each["expires_at"] or "never")[:10],
                (each["last_used_at"] or "–")[:10],
                "revoked" if each["revoked_at"] else "valid",
            )
            for each in found
        ],
    )


@tokens.command("make")
def make_token(
    name: Annotated[str, typer.Argument(help="What it is for.", show_default=False)],
    *,
    user: Annotated[str, typer.Option(help="Who makes it: a token cannot make tokens.")],
    scopes: Annotated[
        list[str],
        typer.Option("--scope", help=f"One of {', '.join(SCOPES)}. May be repeated."),
    ] = ["read"],  # noqa: B006 - Typer copies it
    days: Annotated[int, typer.Option(help="Days until it expires.", min=1, max=365)] = 90,
    project: Annotated[
        str | None, typer.Option(help="Project; default: the one last chosen.")
    ] = None,
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, help="Asked for if left out.")
    ] = "",
    as_json: AsJson = False,
    url: WithUrl = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Make a token with a user's name and password; its secret is shown only once.

    Who logs in by an issuer makes tokens on the page /project.

    Example: refault token make ci --user anna --scope read --scope submit
    """
    for scope in scopes:
        _known(scope, SCOPES, "scope")
    with connect(url, "", timeout) as client:
        client.use_login(client.log_in(user, password)["secret"])
        try:
            if project is not None:
                client.choose_project(project)
            found = client.mint_token(name, scopes=scopes, lifetime_days=days)
        finally:
            client.log_out()
    if as_json:
        print_json(found)
        return
    print(found["secret"])


@tokens.command("revoke")
def revoke_token(
    which: Annotated[
        str, typer.Argument(help="Id or name of a token.", metavar="TOKEN", show_default=False)
    ],
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Revoke a token at once.

    Example: refault token revoke ci
    """
    with connect(url, token, timeout) as client:
        row_id = which
        if not is_id(which):
            valid = [each for each in client.list_tokens()["items"] if not each["revoked_at"]]
            found = [each for each in valid if each["name"] == which]
            if not found:
                known = [each["name"] for each in valid]
                raise NotFound(f"no valid token {which!r}{nearest(which, known)}")
            if len(found) > 1:
                listed = ", ".join(each["id"] for each in found)
                raise NotFound(f"{len(found)} tokens are named {which!r}; give an id: {listed}")
            row_id = found[0]["id"]
        client.revoke_token(row_id)
    _done({"revoked": row_id}, f"revoked {row_id}", as_json=as_json)


@members.command("list")
def list_members(
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """List the members of the project with their roles.

    Example: refault member list --json
    """
    with connect(url, token, timeout) as client:
        found = client.list_members()["items"]
    if as_json:
        print_json(found)
        return
    tables.show(
        ("user", "role", "since"),
        [(each["user"], each["role"], each["since"][:10]) for each in found],
    )


@members.command("add")
def add_member(
    user: WithMember,
    role: WithRole = "contributor",
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Make a user a member of the project; needs the scope admin.

    Example: refault member add anna contributor
    """
    _known(role, ROLES, "role")
    with connect(url, token, timeout) as client:
        known = [each["user"] for each in client.list_members()["items"]]
        if user in known:
            raise InvalidRequest(f"{user} is a member; refault member set {user} {role}")
        client.set_member(user, role)
    _done({"user": user, "role": role}, f"{user} is {role}", as_json=as_json)


@members.command("set")
def set_member(
    user: WithMember,
    role: WithRole,
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Change the role of a member; needs the scope admin.

    Example: refault member set anna maintainer
    """
    _known(role, ROLES, "role")
    with connect(url, token, timeout) as client:
        _member(user, [each["user"] for each in client.list_members()["items"]])
        client.set_member(user, role)
    _done({"user": user, "role": role}, f"{user} is {role}", as_json=as_json)


@members.command("remove")
def remove_member(
    user: WithMember,
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """End a membership; the user's tokens for this project end with it.

    Example: refault member remove anna
    """
    with connect(url, token, timeout) as client:
        _member(user, [each["user"] for each in client.list_members()["items"]])
        client.remove_member(user)
    _done({"removed": user}, f"{user} is no member any more", as_json=as_json)


def _member(user: str, known: Sequence[str]) -> None:
    if user not in known:
        raise NotFound(f"no member {user!r}{nearest(user, known)}; refault member list")


def _known(word: str, words: Sequence[str], noun: str) -> None:
    if word not in words:
        listed = ", ".join(words)
        raise InvalidRequest(f"no {noun} {word!r}{nearest(word, words)}: expected one of {listed}")


def _done(document: dict[str, str], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    print(text)
