"""The endpoints under ``/api/v1/sessions`` and ``/api/v1/me``."""

from dataclasses import replace

from fastapi import APIRouter, Request, Response

from db.errors import Forbidden
from db.models import LoginSession, User
from db.repositories import accounts, credentials, projects
from db.session import transaction
from refault.errors import NotFound
from services.api import passwords
from services.api.callers import Caller, scopes_of
from services.api.deps import Resources, WithCaller, WithResources
from services.api.door import address_of
from services.api.responses import problems
from services.api.sessions import service
from services.api.sessions.schemas import (
    ChooseBody,
    LoginBody,
    Me,
    OpenedSession,
    PasswordBody,
    ProjectChoice,
)

router = APIRouter(tags=["sessions"])


@router.post("/sessions", status_code=201, responses=problems(401, 403, 422, 429))
def log_in(request: Request, resources: WithResources, body: LoginBody) -> OpenedSession:
    """Log in with a name and a password; programs use tokens instead."""
    return service.log_in(resources, body, address_of(request))


@router.delete("/sessions/current", status_code=204, responses=problems(401, 403))
def log_out(resources: WithResources, caller: WithCaller) -> Response:
    """Log out: the session ends at once."""
    _person(caller)
    with transaction(resources.engine) as session:
        credentials.revoke(session, session.get_one(LoginSession, caller.row_id))
    return Response(status_code=204)


@router.put("/sessions/current", responses=problems(401, 403, 404, 422))
def choose_project(resources: WithResources, caller: WithCaller, body: ChooseBody) -> Me:
    """Choose the project of this login."""
    user = _person(caller)
    with transaction(resources.engine) as session:
        choices = {project.name: project for project, _ in accounts.projects_of(session, user)}
        project = choices.get(body.project)
        if project is None:
            raise NotFound(f"no project {body.project}")
        row = session.get_one(LoginSession, caller.row_id)
        row.project_id = project.id
        role = accounts.role_in(session, user.id, row.project_id)
    role = "maintainer" if user.is_admin else role
    scopes = scopes_of(role, project) if role else frozenset[str]()
    return _described(
        resources, replace(caller, project_id=row.project_id, role=role, scopes=scopes)
    )


@router.get("/me", responses=problems(401))
def get_me(resources: WithResources, caller: WithCaller) -> Me:
    """Get the caller's project, role and scopes."""
    return _described(resources, caller)


@router.put("/me/password", status_code=204, responses=problems(401, 403, 422))
def change_password(resources: WithResources, caller: WithCaller, body: PasswordBody) -> Response:
    """Change one's own password; all logins of the account end."""
    user = _person(caller)
    with service.Tries(resources, [f"password:{user.id}"]) as tries:
        if not passwords.is_right(body.old, user.password_hash):
            tries.fail()
            raise Forbidden("the old password is wrong")
    password_hash = passwords.hashed(body.new)
    with transaction(resources.engine) as session:
        row = session.get_one(User, user.id)
        row.password_hash = password_hash
        credentials.revoke_sessions(session, row)
    return Response(status_code=204)


def _person(caller: Caller) -> User:
    if caller.kind != "session" or caller.user is None:
        raise Forbidden("this needs a login; a token is not enough")
    return caller.user


def _described(resources: Resources, caller: Caller) -> Me:
    with transaction(resources.engine) as session:
        is_person = caller.kind == "session" and caller.user is not None
        # Kept open until the end, so that its project is not queried again.
        found = accounts.projects_of(session, caller.user) if is_person and caller.user else []
        choices = [ProjectChoice(name=project.name, role=role) for project, role in found]
        project = projects.by_id(session, caller.project_id) if caller.project_id else None
    return Me(
        kind=caller.kind,
        name=caller.name,
        user=caller.user.name if caller.user else None,
        is_admin=caller.is_admin,
        project=project.name if project else None,
        role=caller.role,
        scopes=sorted(caller.scopes),
        projects=choices,
        batch=caller.batch,
        form_key=caller.form_key,
        id=caller.row_id,
    )
