"""The catalogue as JSON."""

from pydantic import ConfigDict, Field

from services.api.schemas import Document


class Patch(Document):
    """One proposed change to the MMU."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "cr4-posted",
                    "title": "KVM MMU: optimize for writing cr4",
                    "author": "Xiao Guangrong",
                    "date": "2010-04-12",
                    "summary": "Skips the MMU reset when only bits without effect on it change.",
                    "claim": "Fewer resets",
                    "objection": "The new value is not stored",
                    "fate": "Not merged in this form",
                    "knobs": {"cr4_write": 1},
                    "requires": [],
                    "source": "kvm mailing list, [PATCH 4/6]",
                    "short": "p4",
                    "form_of": None,
                    "reconstruction": "",
                }
            ]
        }
    )

    id: str
    title: str
    author: str
    date: str = Field(description="ISO 8601, as exact as it is known")
    summary: str
    claim: str
    objection: str
    fate: str
    knobs: dict[str, int] = Field(description="What it sets; empty if it changes no behaviour")
    requires: list[str] = Field(description="Patches that must stand before it")
    source: str
    short: str = Field(description="Its part of a variant's short name")
    form_of: str | None = Field(description="The patch this one is another form of")
    reconstruction: str = Field(description="What had to be guessed, or empty")


class Base(Document):
    """The code a patch set is applied to."""

    id: str
    title: str
    date: str
    commit: str
    knobs: dict[str, int]
