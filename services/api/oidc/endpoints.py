"""The endpoints under ``/api/v1/sessions/oidc``: a login by an OpenID issuer, in two steps."""

from fastapi import APIRouter, Request

from services.api.deps import WithResources
from services.api.door import address_of
from services.api.oidc import service
from services.api.oidc.schemas import BeginBody, BegunLogin, FinishBody, IssuedSession, Offer
from services.api.responses import problems

router = APIRouter(tags=["sessions"])


@router.get("/sessions/oidc")
def get_oidc(resources: WithResources) -> Offer:
    """Get the issuer users can log in by, if any."""
    return Offer(name=service.name_of_issuer(resources))


@router.post("/sessions/oidc", status_code=201, responses=problems(403, 404, 422, 429, 503))
def begin_oidc(request: Request, resources: WithResources, body: BeginBody) -> BegunLogin:
    """Start a login by the issuer: where to send the browser, and what it keeps."""
    return service.begin(resources, body.target, address_of(request))


@router.post("/sessions/oidc/finish", status_code=201, responses=problems(401, 403, 404, 422, 503))
def finish_oidc(request: Request, resources: WithResources, body: FinishBody) -> IssuedSession:
    """Finish a login with the issuer's answer."""
    return service.finish(resources, body, address_of(request))
