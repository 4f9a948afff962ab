"""The glossary as JSON."""

from pydantic import ConfigDict, Field

from services.api.schemas import Document


class Group(Document):
    """Words of one kind."""

    name: str
    title: str
    lead: str = Field(description="A sentence on all of them")
    anchor: str = Field(description="Its id on the page `/help`")


class Entry(Document):
    """A word and its meaning."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "synced",
                    "group": "costs",
                    "text": "Out-of-sync shadow pages that were compared with the guest's table.",
                    "also": ["synced pages"],
                    "more": "",
                    "anchor": "synced",
                }
            ]
        }
    )

    name: str
    group: str
    text: str = Field(description="Sentences without markup")
    also: list[str] = Field(description="Other spellings in tables")
    more: str = Field(description="A page of the documentation, below `docs`, or empty")
    anchor: str = Field(description="Its id on the page `/help`")


class Glossary(Document):
    """Words with their meaning, group by group."""

    groups: list[Group] = Field(description="In the order of the page; all of them")
    items: list[Entry]
