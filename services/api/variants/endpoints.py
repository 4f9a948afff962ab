"""The endpoints under ``/api/v1/variants``."""

from typing import Annotated

from fastapi import APIRouter, Query

from db.repositories import patch_sets, programs, uses
from refault import catalogue
from services.api.deps import WithPage, WithResources
from services.api.patch_sets.schemas import Parameters, Variant
from services.api.patches.uses import USES_MAX, Use, of_variant, uses_of
from services.api.responses import problems
from services.api.schemas import Digest, Page
from services.api.variants.schemas import Notation, Stored

router = APIRouter(tags=["patch sets"])
TEXT_MAX = 2_000


@router.get("/variants", responses=problems(404, 409, 422))
def get_variant(
    resources: WithResources,
    text: Annotated[
        str,
        Query(
            min_length=1,
            max_length=TEXT_MAX,
            description="As of `refault replay --variant`: `p1+p2,tlb=1`, `kernel:mine+1..3`",
        ),
    ],
) -> Notation:
    """Get the machine that one line names, whether or not a patch set of it is stored."""
    wanted = catalogue.kernel_patches_by_number(catalogue.patch_set_from_text(text))
    with resources.transaction() as session:
        variant = programs.resolver(session)(wanted)
        stored = patch_sets.of_variant(session, variant.digest)
        return Notation(
            text=catalogue.patch_set_to_text(wanted),
            base=wanted.base,
            patches=list(wanted.patches),
            parameters=Parameters.model_validate(wanted.parameters.to_dict()),
            variant=Variant(
                digest=variant.digest,
                name=variant.name,
                engine=variant.engine,
                golden_name=variant.golden_name,
                text=catalogue.patch_set_to_text(variant.patch_set),
            ),
            stored=[Stored.model_validate(row) for row in stored],
        )


@router.get("/variants/{variant}/batches", responses=problems(422))
def list_batches_of_variant(resources: WithResources, page: WithPage, variant: Digest) -> Page[Use]:
    """List the batches of this project with a column of the machine, newest first.

    At most 20 at once, each with the verdicts of those columns.
    """
    with resources.transaction() as session:
        found = uses.batches_with_variant(
            session, variant, after=page.cursor, limit=min(page.limit, USES_MAX)
        )
        items = uses_of(session, found.rows, of_variant(variant))
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))
