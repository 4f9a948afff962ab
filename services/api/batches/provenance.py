"""What a column of a batch was asked for, in this batch.

A variant has one row, which keeps the words of the first patch set that resolved to it. Another
patch set with the same digest may leave a patch out or have one more, and must not be shown by
those words.
"""

import uuid
from collections.abc import Mapping, Sequence

from db.models import BatchColumn, PatchSet
from refault.catalogue import Parameters, is_kernel, patches_of_column


def asked_names(
    plan: str, columns: Sequence[BatchColumn], sets: Mapping[uuid.UUID, PatchSet]
) -> list[str]:
    """The name of each column's variant in the words of its own patch set."""
    return [_name(plan, column, sets[column.patch_set_id]) for column in columns]


def _name(plan: str, column: BatchColumn, own: PatchSet) -> str:
    # The digest of a kernel's variant has its base and its patches.
    if is_kernel(own.base):
        return column.variant.name
    patches = patches_of_column(plan, column.label, column.prefix_length, own.patches)
    # A matrix varies the base too.
    base = column.variant.base if plan == "matrix" else own.base
    parameters = Parameters.from_dict(column.variant.parameters)
    return " ".join((base, *(f"+{patch}" for patch in patches), *parameters.to_words()))
