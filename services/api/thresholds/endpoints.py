"""The endpoints under ``/api/v1/thresholds``."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from db.repositories import batch_verdicts, thresholds
from refault.compare import COSTS, Threshold
from refault.errors import InvalidRequest
from services.api.deps import WithResources
from services.api.errors import pointing_at
from services.api.responses import problems
from services.api.thresholds.schemas import DefaultLimit, Limit, Thresholds, ThresholdsBody

router = APIRouter(tags=["thresholds"])


@router.get("/thresholds")
def get_thresholds(resources: WithResources) -> Thresholds:
    """Get how much each counter may worsen in this project."""
    with resources.transaction() as session:
        return _document(session)


@router.put("/thresholds", responses=problems(422))
def put_thresholds(resources: WithResources, body: ThresholdsBody) -> Thresholds:
    """Replace all limits of this project; they apply to finished batches too."""
    for counter in body.limits:
        if counter not in COSTS:
            with pointing_at(f"/limits/{counter.replace('~', '~0').replace('/', '~1')}"):
                raise InvalidRequest(f"{counter}: not a cost; expected one of {', '.join(COSTS)}")
    with resources.transaction() as session:
        thresholds.replace(
            session,
            {name: (limit.permille, limit.absolute) for name, limit in body.limits.items()},
        )
        # By the old limits they would still be found by their verdicts.
        batch_verdicts.forget_all(session)
        return _document(session)


def _document(session: Session) -> Thresholds:
    usual = Threshold()
    return Thresholds(
        limits={
            name: Limit(permille=row.permille, absolute=row.absolute)
            for name, row in thresholds.limits(session).items()
        },
        default=DefaultLimit(permille=usual.permille, operations=usual.operations),
        counters=list(COSTS),
    )
