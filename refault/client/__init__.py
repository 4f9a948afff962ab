"""The HTTP client of the service, synchronous and asynchronous."""

from refault.client.async_client import AsyncClient
from refault.client.client import Client
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
