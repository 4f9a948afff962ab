"""The catalogue's copy in the database, so that patch sets can refer to patches."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import Patch
from refault import catalogue


def copy_catalogue(session: Session) -> int:
    """Write every patch of the catalogue into ``patches``; answers their number.

    Patches that were removed from the catalogue stay: old patch sets refer to them.
    """
    known = catalogue.patches()
    for patch in known:
        values: dict[str, Any] = {
            "title": patch.title,
            "body": {
                name: value
                for name, value in patch.to_dict().items()
                if name not in ("id", "title")
            },
        }
        session.execute(
            insert(Patch)
            .values(id=patch.id, **values)
            .on_conflict_do_update(index_elements=[Patch.id], set_=values)
        )
    return len(known)
