"""A notation as JSON."""

import uuid

from pydantic import ConfigDict, Field

from services.api.patch_sets.schemas import Parameters, Variant
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
                    "base": "v2.6.34-pre",
                    "patches": ["zap-account", "cr4-posted"],
                    "parameters": {
                        "page_limit": None,
                        "bypass": None,
                        "host_page_level": 1,
                        "tlb": 0,
                        "tdp": 0,
                    },
                    "variant": {
                        "digest": "4e1d" * 16,
                        "name": "v2.6.34-pre +zap-account +cr4-posted",
                        "engine": "shadow",
                        "golden_name": "p4",
                        "text": "zap-account+cr4-posted",
                    },
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
