"""``python -m services.api.admin``: accounts from the command line, before anybody can log in.

Needs only REFAULT_DATABASE_URL; its actions are in the audit like all others.
"""

from __future__ import annotations

import argparse
import datetime
import getpass
import os
import sys
import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models.accounts import ROLES, SCOPES
from db.models.projects import BUILD_ROLES
from db.repositories import accounts, audit, credentials, identities, projects
from db.scope import enter
from db.session import create_engine, transaction
from refault.errors import RefaultError
from refault.printable import first_unprintable, name_of
from services.api import passwords

_NO_BOUND = 0


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    for name, value in vars(options).items():
        found = first_unprintable(value) if isinstance(value, str) else None
        if found is not None:
            sys.stderr.write(
                f"{name}: character {found + 1} is {name_of(value[found])}, which cannot be shown; "
                "leave it out\n"
            )
            return 2
    url = options.database_url or os.environ.get("REFAULT_DATABASE_URL")
    if not url:
        sys.stderr.write("no database: set REFAULT_DATABASE_URL or give --database-url\n")
        return 2
    engine = create_engine(url, pool_size=1)
    try:
        with transaction(engine) as session:
            shown = options.run(session, options)
            audit.note(
                session,
                actor=f"command line ({getpass.getuser()})",
                action=options.command,
                project_id=session.info.get("project_id"),
                subject=options.subject(options),
            )
    except (RefaultError, sa.exc.SQLAlchemyError) as error:
        sys.stderr.write(f"{options.command}: {error}\n")
        return 1
    finally:
        engine.dispose()
    # A secret is printed only after the commit that makes it valid.
    sys.stdout.write(shown)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.api.admin", description=__doc__)
    parser.add_argument("--database-url", help="default: REFAULT_DATABASE_URL")
    commands = parser.add_subparsers(dest="command", required=True)

    user = commands.add_parser("create-user", help="create a user; prints the generated password")
    user.add_argument("name")
    user.add_argument("--admin", action="store_true", help="an administrator")
    user.add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password from standard input instead",
    )
    user.add_argument("--email", help="invite to log in by the issuer; no password then")
    user.set_defaults(run=_create_user, subject=lambda given: given.name)

    reset = commands.add_parser("reset-password", help="print a new password for a user")
    reset.add_argument("name")
    reset.set_defaults(run=_reset_password, subject=lambda given: given.name)

    invite = commands.add_parser(
        "invite", help="set the e-mail address of an account; ends its links"
    )
    invite.add_argument("name")
    invite.add_argument("email")
    invite.set_defaults(run=_invite, subject=lambda given: f"{given.name} {given.email}")

    project = commands.add_parser("create-project", help="create a project")
    project.add_argument("name")
    _add_quotas(project)
    project.set_defaults(run=_create_project, subject=lambda given: given.name)

    quota = commands.add_parser("set-quota", help="set the quotas of a project; 0 is unbounded")
    quota.add_argument("name")
    _add_quotas(quota)
    quota.set_defaults(run=_set_quota, subject=lambda given: given.name)

    builds = commands.add_parser(
        "set-builds",
        help="set who in a project builds kernels (of the API, REFAULT_BUILDS allows it)",
    )
    builds.add_argument("project")
    builds.add_argument("role", choices=BUILD_ROLES)
    builds.set_defaults(run=_set_builds, subject=lambda given: f"{given.project} {given.role}")

    member = commands.add_parser("set-member", help="give a user a role in a project")
    member.add_argument("project")
    member.add_argument("user")
    member.add_argument("role", choices=ROLES)
    member.set_defaults(run=_set_member, subject=lambda given: f"{given.project} {given.user}")

    token = commands.add_parser("create-token", help="create a token of a project and print it")
    token.add_argument("project")
    token.add_argument("name")
    token.add_argument("--scope", action="append", choices=SCOPES, required=True)
    token.add_argument("--days", type=int, default=90, help="lifetime (90); 0 does not expire")
    token.set_defaults(run=_create_token, subject=lambda given: f"{given.project} {given.name}")

    revoke = commands.add_parser("revoke-token", help="revoke a token at once")
    revoke.add_argument("project")
    revoke.add_argument("id", type=uuid.UUID)
    revoke.set_defaults(run=_revoke_token, subject=lambda given: f"{given.project} {given.id}")
    return parser


def _add_quotas(parser: argparse.ArgumentParser) -> None:
    for name in projects.QUOTAS:
        option = "--" + name.removeprefix("quota_").replace("_", "-")
        parser.add_argument(option, dest=name, type=int, metavar="N")


def _create_user(session: Session, options: argparse.Namespace) -> str:
    given = sys.stdin.readline().rstrip("\n") if options.password_stdin else None
    generated = None if given is not None or options.email else passwords.generated()
    password = given if given is not None else generated
    accounts.add_user(
        session,
        options.name,
        password_hash=None if password is None else passwords.hashed(password),
        is_admin=options.admin,
        email=options.email,
    )
    return f"user {options.name}\n" if generated is None else f"password: {generated}\n"


def _invite(session: Session, options: argparse.Namespace) -> str:
    user = accounts.get_user(session, options.name)
    identities.invite(session, user, options.email)
    credentials.revoke_sessions(session, user)
    return f"{user.email} may log in as {user.name}\n"


def _reset_password(session: Session, options: argparse.Namespace) -> str:
    user = accounts.get_user(session, options.name)
    password = passwords.generated()
    user.password_hash = passwords.hashed(password)
    credentials.revoke_sessions(session, user)
    return f"password: {password}\n"


def _create_project(session: Session, options: argparse.Namespace) -> str:
    projects.add(session, options.name, **_quotas(options))
    return f"project {options.name}\n"


def _set_quota(session: Session, options: argparse.Namespace) -> str:
    project = projects.get(session, options.name)
    for name, value in _quotas(options).items():
        setattr(project, name, value)
    shown = (f"{name}: {getattr(project, name) or 'unbounded'}\n" for name in projects.QUOTAS)
    return "".join(shown)


def _set_builds(session: Session, options: argparse.Namespace) -> str:
    project = projects.get(session, options.project)
    enter(session, project.id)
    project.build_role = options.role
    builds = "build" if options.role != "nobody" else "builds"
    who = {"nobody": "nobody", "maintainer": "maintainers", "contributor": "contributors"}
    return f"{who[options.role]} {builds} kernels in {project.name}\n"


def _quotas(options: argparse.Namespace) -> dict[str, int | None]:
    given = {name: getattr(options, name) for name in projects.QUOTAS}
    return {
        name: None if value <= _NO_BOUND else value
        for name, value in given.items()
        if value is not None
    }


def _set_member(session: Session, options: argparse.Namespace) -> str:
    project = projects.get(session, options.project)
    enter(session, project.id)
    user = accounts.get_user(session, options.user)
    accounts.set_role(session, project.id, user, options.role)
    return f"{user.name} is a {options.role} of {project.name}\n"


def _create_token(session: Session, options: argparse.Namespace) -> str:
    enter(session, projects.get(session, options.project).id)
    lifetime = datetime.timedelta(days=options.days) if options.days > 0 else None
    _, secret = credentials.mint_token(
        session, options.name, scopes=options.scope, lifetime=lifetime
    )
    return f"{secret}\n"


def _revoke_token(session: Session, options: argparse.Namespace) -> str:
    enter(session, projects.get(session, options.project).id)
    credentials.revoke(session, credentials.get_token(session, options.id))
    return f"token {options.id} is revoked\n"


if __name__ == "__main__":
    sys.exit(main())
