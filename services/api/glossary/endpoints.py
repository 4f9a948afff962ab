"""The endpoint ``/api/v1/glossary``."""

from typing import Annotated

from fastapi import APIRouter, Query

from refault import glossary
from services.api.glossary.schemas import Entry, Glossary, Group

router = APIRouter(tags=["glossary"])


@router.get("/glossary")
def get_glossary(
    q: Annotated[
        str | None,
        Query(min_length=1, max_length=100, description="Part of a name or of a meaning"),
    ] = None,
    group: Annotated[
        str | None, Query(max_length=100, description="One group only, by its name")
    ] = None,
) -> Glossary:
    """Get what every counter, verdict, check and term means."""
    found = glossary.ENTRIES if q is None else glossary.search(q)
    return Glossary(
        groups=[Group.model_validate(each.to_dict()) for each in glossary.GROUPS],
        items=[
            Entry.model_validate(entry.to_dict())
            for entry in found
            if group is None or entry.group == group
        ],
    )
