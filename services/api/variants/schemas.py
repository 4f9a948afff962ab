"""A notation as JSON."""

import uuid

from pydantic import ConfigDict, Field

from services.api.patch_sets.schemas import EXAMPLE, Parameters, Variant
from services.api.schemas import Document


class Stored(Document):
    """A patch set of the project that makes the same machine."""

    id: uuid.UUID
    name: str


class Notation(Document):
    """What one line such as `p1+p2,tlb=1` names."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "text": "zap-account+cr4-posted",
                    **EXAMPLE,
                    "stored": [],
                }
            ]
        }
    )

    text: str = Field(description="The same with every patch by its id")
    base: str
    patches: list[str] = Field(description="Ids; on a kernel, the numbers of its own patches")
    parameters: Parameters
    variant: Variant
    stored: list[Stored] = Field(
        description="The newest 20 patch sets of the project that make this machine"
    )
