"""The endpoints under ``/api/v1/retention``: the rule of the caller's project."""

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from sqlalchemy.orm import Session

from db.models import Project
from db.scope import project_of
from services.api.deps import WithResources
from services.api.responses import problems
from services.api.schemas import Body

router = APIRouter(tags=["retention"])
DAYS_MAX = 36_500


class RetentionRule(Body):
    """When traces are deleted automatically."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [{"days": 90}]})

    days: int | None = Field(
        ge=1,
        le=DAYS_MAX,
        description="A trace that no batch uses and that is not tagged `keep` is deleted this many "
        "days after it was uploaded or last changed; null: never",
    )


@router.get("/retention")
def get_retention(resources: WithResources) -> RetentionRule:
    """Get the rule of the project; a new project has none."""
    with resources.transaction() as session:
        return RetentionRule(days=_project(session).retention_days)


@router.put("/retention", responses=problems(422))
def set_retention(resources: WithResources, rule: RetentionRule) -> RetentionRule:
    """Set the rule of the project. The next sweep applies it and logs what it deletes."""
    with resources.transaction() as session:
        _project(session).retention_days = rule.days
    return rule


def _project(session: Session) -> Project:
    return session.get_one(Project, project_of(session))
