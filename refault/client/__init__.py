"""The HTTP client of the service, synchronous and asynchronous."""

from refault.client.async_client import AsyncClient
from refault.client.client import Client
from refault.client.documents import (
    BaseDocument,
    BatchDocument,
    BatchEvent,
    Page,
    ParametersDocument,
    PatchDocument,
    PatchSetDocument,
    ProblemTypeDocument,
    ProgressDocument,
    RunDocument,
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
    "Page",
    "ParametersDocument",
    "PatchDocument",
    "PatchSetDocument",
    "ProblemTypeDocument",
    "ProgressDocument",
    "RunDocument",
    "TraceDocument",
    "Upload",
    "VariantDocument",
]
