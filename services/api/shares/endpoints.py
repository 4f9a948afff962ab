"""The endpoints of share links: created and listed at their batch, revoked by id."""

import datetime
import uuid
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from db.repositories import batches, credentials
from db.repositories.credentials import LINK_LIFETIME, MadeLink
from services.api.callers import may_share
from services.api.deps import WithCaller, WithResources
from services.api.responses import problems
from services.api.schemas import Body, Document, Page, Time

router = APIRouter(tags=["shares"])

LIFETIME_DAYS_MAX = 365


class ShareBody(Body):
    """The lifetime of a link."""

    lifetime_days: Annotated[int, Field(ge=1, le=LIFETIME_DAYS_MAX)] = Field(
        LINK_LIFETIME.days,
        description="It ends sooner with the token it was made with, with its maker's membership "
        "or role, or when somebody revokes it",
    )


class Share(Document):
    """A link without its address."""

    id: uuid.UUID
    batch: str
    made_by: str
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    is_open: bool = Field(description="Whether it opens the batch now")


class MadeShare(Share):
    """A new link; `path` is its address on this service and is shown only once."""

    path: str = Field(repr=False)


@router.post(
    "/batches/{batch}/shares", status_code=201, responses=problems(401, 403, 404, 409, 422)
)
def share_batch(
    resources: WithResources, caller: WithCaller, batch: str, body: ShareBody
) -> MadeShare:
    """Create a link by which anybody can read this batch and its comparison."""
    lifetime = datetime.timedelta(days=body.lifetime_days)
    with resources.transaction() as session:
        row = batches.get(session, batch)
        link, secret = credentials.share(session, row, caller.name, lifetime)
        share = _described(credentials.with_maker(session, link), row.code)
        return MadeShare(**dict(share), path=f"/s/{secret}")


@router.get("/batches/{batch}/shares", responses=problems(401, 403, 404))
def list_shares(resources: WithResources, batch: str) -> Page[Share]:
    """List the links to a batch, newest first; of ended ones the newest 50."""
    with resources.transaction() as session:
        row = batches.get(session, batch)
        items = [_described(link, row.code) for link in credentials.links(session, row)]
    return Page(items=items, next_cursor=None)


@router.delete("/shares/{share}", status_code=204, responses=problems(401, 403, 404, 422))
def revoke_share(resources: WithResources, share: uuid.UUID) -> Response:
    """Revoke a link."""
    with resources.transaction() as session:
        credentials.revoke(session, credentials.get_link(session, share))
    return Response(status_code=204)


def _described(made: MadeLink, batch: str) -> Share:
    link = made.row
    return Share(
        id=link.id,
        batch=batch,
        made_by=link.made_by,
        created_at=link.created_at,
        expires_at=link.expires_at,
        revoked_at=link.revoked_at,
        is_open=made.holds and may_share(made),
    )
