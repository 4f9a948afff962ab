"""The endpoints under ``/api/v1/projects`` and ``/api/v1/members``."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from db.errors import Forbidden
from db.repositories import accounts, projects
from db.scope import project_of
from db.session import transaction
from services.api.deps import Resources, WithCaller, WithResources
from services.api.projects.schemas import Member, MemberBody, Project, ProjectBody
from services.api.responses import problems
from services.api.schemas import Page

router = APIRouter(tags=["projects"])

UserName = Annotated[str, Path(max_length=63, description="Name of a user")]


@router.get("/projects", responses=problems(401))
def list_projects(resources: WithResources, caller: WithCaller) -> Page[Project]:
    """List the projects the caller sees; a token sees its own."""
    with transaction(resources.engine) as session:
        if caller.kind == "session" and caller.user is not None:
            rows = [project for project, _ in accounts.projects_of(session, caller.user)]
        else:
            rows = [projects.by_id(session, caller.project_id)] if caller.project_id else []
    return Page(items=[Project.model_validate(row) for row in rows], next_cursor=None)


@router.post("/projects", status_code=201, responses=problems(401, 403, 409, 422))
def create_project(
    response: Response, resources: WithResources, caller: WithCaller, body: ProjectBody
) -> Project:
    """Create a project; for logged-in administrators."""
    if not caller.is_admin:
        raise Forbidden("only a logged-in administrator creates projects")
    given = body.model_dump(exclude_unset=True, exclude={"name"})
    with transaction(resources.engine) as session:
        row = projects.add(session, body.name, **(quotas_of_new(resources) | given))
    response.headers["location"] = "/api/v1/projects"
    return Project.model_validate(row)


@router.get("/members", responses=problems(401, 403))
def list_members(resources: WithResources) -> Page[Member]:
    """List the members of this project."""
    with resources.transaction() as session:
        found = accounts.members(session, project_of(session))
    items = [
        Member(user=user.name, role=membership.role, since=membership.created_at)
        for user, membership in found
    ]
    return Page(items=items, next_cursor=None)


@router.put("/members/{user}", status_code=204, responses=problems(401, 403, 404, 422))
def set_member(resources: WithResources, user: UserName, body: MemberBody) -> Response:
    """Make a user a member of this project, or change their role."""
    with resources.transaction() as session:
        accounts.set_role(session, project_of(session), accounts.get_user(session, user), body.role)
    return Response(status_code=204)


@router.delete("/members/{user}", status_code=204, responses=problems(401, 403, 404, 422))
def remove_member(resources: WithResources, user: UserName) -> Response:
    """End a membership; the user's tokens for this project end with it."""
    with resources.transaction() as session:
        accounts.remove_member(session, project_of(session), accounts.get_user(session, user))
    return Response(status_code=204)


def quotas_of_new(resources: Resources) -> dict[str, int | None]:
    """What a new project may have where nobody says otherwise."""
    settings = resources.settings
    return {
        "quota_bytes": settings.project_bytes,
        "quota_traces": settings.project_traces,
        "quota_queued_runs": settings.project_queued_runs,
        "requests_per_minute": settings.project_requests_per_minute,
    }
