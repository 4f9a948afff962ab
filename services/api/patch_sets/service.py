"""From a request body to a patch set on a base or kernel, with the JSON pointer of every error."""

from collections.abc import Sequence
from itertools import combinations

from sqlalchemy.orm import Session

from db.models import PatchSet as PatchSetRow
from db.repositories import kernels, patch_sets, programs
from refault import catalogue
from refault.errors import (
    CatalogueError,
    ContradictingPatches,
    InvalidParameter,
    MissingRequirement,
    WrongBase,
)
from services.api.errors import PointedError, pointing_at
from services.api.patch_sets.schemas import PatchSet, PatchSetBody, Sibling


def document_of(session: Session, row: PatchSetRow) -> PatchSet:
    """A row as JSON, with the other versions of its series."""
    return documents_of(session, [row])[0]


def documents_of(session: Session, rows: Sequence[PatchSetRow]) -> list[PatchSet]:
    """Rows as JSON; the number of queries does not depend on theirs."""
    siblings = patch_sets.siblings(session, rows)
    documents = []
    for row in rows:
        document = PatchSet.model_validate(row)
        document.siblings = [Sibling.model_validate(each) for each in siblings[row.id]]
        documents.append(document)
    return documents


def add(session: Session, body: PatchSetBody) -> tuple[PatchSetRow, bool]:
    """Store the patch set of a body; answers its row and whether it is new.

    Raises:
        PointedError: with the JSON pointers of the errors.
    """
    wanted = _to_catalogue(body)
    if catalogue.is_kernel(wanted.base):
        return _add_on_kernel(session, body, wanted)
    try:
        return patch_sets.add(session, body.name, wanted, series=body.series, version=body.version)
    except CatalogueError as error:
        raise PointedError(error, _places(error, wanted)) from error


def _add_on_kernel(
    session: Session, body: PatchSetBody, wanted: catalogue.PatchSet
) -> tuple[PatchSetRow, bool]:
    with pointing_at("/base"):
        kernels.get(session, wanted.base.removeprefix(catalogue.KERNEL))
    with pointing_at("/patches"):
        programs.named_by(session, wanted)
    try:
        return patch_sets.add(session, body.name, wanted, series=body.series, version=body.version)
    except InvalidParameter as error:
        raise PointedError(error, ["/parameters"]) from error
    except CatalogueError as error:
        raise PointedError(error, ["/patches"]) from error


def _to_catalogue(body: PatchSetBody) -> catalogue.PatchSet:
    """The patch set of a body, whose parts exist; whether they fit together is not checked.

    Parts of a kernel are looked for later, by :func:`_add_on_kernel`.
    """
    if not catalogue.is_kernel(body.base):
        with pointing_at("/base"):
            catalogue.get_base(body.base)
        for index, patch_id in enumerate(body.patches):
            with pointing_at(f"/patches/{index}"):
                catalogue.get_patch(patch_id)
    try:
        parameters = catalogue.Parameters.from_dict(body.parameters.model_dump())
    except InvalidParameter as error:
        field = str(error).partition(":")[0].replace(".", "/")
        raise PointedError(error, [f"/parameters/{field}"]) from error
    return catalogue.PatchSet(body.base, tuple(body.patches), parameters)


def _places(error: CatalogueError, wanted: catalogue.PatchSet) -> list[str]:
    """The patches an error of ``resolve`` is about."""
    if isinstance(error, ContradictingPatches):
        chosen = [catalogue.get_patch(patch_id) for patch_id in wanted.patches]
        pairs = combinations(enumerate(chosen), 2)
        indexes = sorted(
            {
                index
                for (left_index, left), (right_index, right) in pairs
                if left.id == right.id or left.knobs.keys() & right.knobs.keys()
                for index in (left_index, right_index)
            }
        )
        return [f"/patches/{index}" for index in indexes]
    if isinstance(error, MissingRequirement | WrongBase):
        for length, prefix in enumerate(catalogue.prefixes(wanted)):
            try:
                catalogue.resolve(prefix)
            except CatalogueError as earlier:
                if type(earlier) is type(error):
                    return [f"/patches/{length - 1}"]
    return ["/patches"]
