"""The HTTP client of the service, synchronous and asynchronous."""

from refault.client.async_client import AsyncClient
from refault.client.documents import (
    BaseDocument,
    BatchDocument,
    BatchEvent,
    EstimateDocument,
    HealthDocument,
    MeDocument,
    Page,
    ParametersDocument,
    PatchDocument,
    PatchSetDocument,
    ProblemTypeDocument,
    ProgressDocument,
    ReadinessDocument,
    RunDocument,
    SessionDocument,
    ShareDocument,
    TraceDocument,
    Upload,
    VariantDocument,
)
from refault.client.synchronous.client import Client

__all__ = [
    "AsyncClient",
    "BaseDocument",
    "BatchDocument",
    "BatchEvent",
    "Client",
    "EstimateDocument",
    "HealthDocument",
    "MeDocument",
    "Page",
    "ParametersDocument",
    "PatchDocument",
    "PatchSetDocument",
    "ProblemTypeDocument",
    "ProgressDocument",
    "ReadinessDocument",
    "RunDocument",
    "SessionDocument",
    "ShareDocument",
    "TraceDocument",
    "Upload",
    "VariantDocument",
]
