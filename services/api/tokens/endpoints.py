"""The endpoints under ``/api/v1/tokens``."""

import datetime
import uuid

from fastapi import APIRouter, Response

from db.errors import Forbidden
from db.repositories import credentials
from refault.errors import NotFound
from services.api.callers import Caller
from services.api.deps import WithCaller, WithResources
from services.api.responses import problems
from services.api.schemas import Page
from services.api.tokens.schemas import MintedToken, Token, TokenBody

router = APIRouter(tags=["tokens"])


@router.post("/tokens", status_code=201, responses=problems(401, 403, 409, 422))
def mint_token(resources: WithResources, caller: WithCaller, body: TokenBody) -> MintedToken:
    """Create a token for this project; needs a login, and grants at most the user's own rights."""
    if caller.kind != "session" or caller.user is None:
        raise Forbidden(
            "a token cannot create a token: log in, or use `python -m services.api.admin`"
        )
    missing = set(body.scopes) - caller.scopes
    if missing:
        raise Forbidden(f"a {caller.role} cannot grant: {', '.join(sorted(missing))}")
    with resources.transaction() as session:
        row, secret = credentials.mint_token(
            session,
            body.name,
            scopes=body.scopes,
            user_id=caller.user.id,
            lifetime=datetime.timedelta(days=body.lifetime_days),
        )
        return MintedToken(**Token.model_validate(row).model_dump(), secret=secret)


@router.get("/tokens", responses=problems(401, 403))
def list_tokens(resources: WithResources, caller: WithCaller) -> Page[Token]:
    """List one's own tokens in this project; for a maintainer all, for a token only itself.

    Of ended ones the newest 50.
    """
    with resources.transaction() as session:
        if "admin" in caller.scopes:
            rows = credentials.tokens(session)
        elif caller.kind == "token":
            rows = [credentials.get_token(session, caller.row_id)]
        else:
            rows = credentials.tokens(session, caller.user.id) if caller.user else []
        items = [Token.model_validate(row) for row in rows]
    return Page(items=items, next_cursor=None)


@router.delete("/tokens/{token}", status_code=204, responses=problems(401, 403, 404, 422))
def revoke_token(resources: WithResources, caller: WithCaller, token: uuid.UUID) -> Response:
    """Revoke a token: one's own, or any of the project for a maintainer."""
    with resources.transaction() as session:
        row = credentials.get_token(session, token)
        is_itself = caller.kind == "token" and caller.row_id == row.id
        if not (is_itself or _is_theirs(caller, row.user_id)):
            raise NotFound(f"no token {token}")
        if caller.kind == "token" and not is_itself and "admin" not in caller.scopes:
            raise Forbidden("a token can revoke only itself, unless it has the scope 'admin'")
        credentials.revoke(session, row)
    return Response(status_code=204)


def _is_theirs(caller: Caller, owner_id: uuid.UUID | None) -> bool:
    is_own = caller.user is not None and caller.user.id == owner_id
    return is_own or "admin" in caller.scopes
