"""Who may have kernels built: the operator decides whether at all, the project who."""

from db.errors import Forbidden
from services.api.callers import BUILD, Caller
from services.api.deps import Resources


def check_on(resources: Resources) -> None:
    """Refuses to change anything about kernels where the operator has not allowed it."""
    if not resources.settings.builds:
        raise Forbidden(
            "this service builds no kernels: its operator has to set REFAULT_BUILDS=true"
        )


def check_may_build(resources: Resources, caller: Caller, what: str) -> None:
    """Refuses callers without the scope ``build``, on routes that others may call."""
    check_on(resources)
    caller.check_has(BUILD, what)
