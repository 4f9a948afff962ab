"""The endpoints under ``/api/v1/problems``."""

from fastapi import APIRouter

from refault.errors import NotFound
from services.api import errors
from services.api.responses import problems
from services.api.schemas import Document, Page


class ProblemType(Document):
    """A kind of problem and its remedy."""

    name: str
    uri: str
    status: int
    title: str
    remedy: str


router = APIRouter(tags=["problems"])


@router.get("/problems")
def list_problems() -> Page[ProblemType]:
    """List every kind of problem of this API."""
    items = [ProblemType.model_validate(kind) for kind in errors.TYPES.values()]
    return Page(items=items, next_cursor=None)


@router.get("/problems/{name}", responses=problems(404))
def get_problem(name: str) -> ProblemType:
    """Get the explanation of a problem's `type`."""
    if name not in errors.TYPES:
        raise NotFound(f"no problem {name}: GET /api/v1/problems lists them")
    return ProblemType.model_validate(errors.TYPES[name])
