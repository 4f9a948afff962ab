"""A catalogue that knows made-up diffs: no line of the kernel is part of this repository."""

import dataclasses

from refault import catalogue
from refault.catalogue.model import Beginning
from refault.series import diffs

POSTED = (
    "diff --git a/arch/x86/kvm/pond.c b/arch/x86/kvm/pond.c\n"
    "--- a/arch/x86/kvm/pond.c\n+++ b/arch/x86/kvm/pond.c\n"
    "@@ -20,6 +20,8 @@ void pond(void)\n"
    " \tunsigned long depth = read();\n \tunsigned long shore = 3;\n \n"
    "+\tif (depth == shore)\n+\t\treturn;\n"
    " \tif (is_dry(depth))\n \t\treturn;\n \tfill(depth);\n"
)
"""A change that another patch of the catalogue makes elsewhere."""


def _replaced(monkeypatch, changes):
    """The catalogue with some fields of some patches replaced."""
    patches = tuple(
        dataclasses.replace(patch, **changes.get(patch.id, {})) for patch in catalogue.patches()
    )
    monkeypatch.setattr(catalogue, "patches", lambda: patches)


def teach(monkeypatch, texts, **fields):
    """Make patches known by made-up diffs: patch id to diff."""
    changes = {}
    for patch_id, text in texts.items():
        found = diffs.parse(text)
        changes[patch_id] = {
            "diff_ids": (found.digest,),
            "places": {found.digest: found.places},
            "files": tuple(found.files),
            "parts": (),
            "beginning": None,
            **fields,
        }
    _replaced(monkeypatch, changes)


def teach_parts(monkeypatch, patch_id, *texts):
    """Make a patch known by diffs that only together are it."""
    found = [diffs.parse(text) for text in texts]
    fields = {"diff_ids": (), "places": {}, "parts": tuple((entry.digest,) for entry in found)}
    _replaced(monkeypatch, {patch_id: fields})


def teach_beginning(monkeypatch, patch_id, text, count):
    """Make a patch known by the first lines of a diff, and by how much the whole changes."""
    found = diffs.parse(text)
    begins = Beginning(
        count, found.beginning(count), added=found.added_count, removed=found.removed_count
    )
    fields = {"beginning": begins, "files": tuple(found.files), "diff_ids": (), "places": {}}
    _replaced(monkeypatch, {patch_id: fields})
