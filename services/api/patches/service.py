"""Patches of the catalogue as documents, with what follows from the others and from the thread."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from refault import catalogue
from refault.errors import CatalogueError, NotFound, UnknownPatch
from refault.thread.patches import TOPICS
from refault.thread.topics import Topic
from services.api.patches.schemas import Patch

_KNOBS = {knob.name: knob for knob in catalogue.KNOBS}


class Wanted(NamedTuple):
    """Which patches a list is asked for; None asks for all."""

    q: str | None = None
    author: str | None = None
    base: str | None = None
    form_of: str | None = None
    merged: bool | None = None


def find(wanted: Wanted) -> list[Patch]:
    """The wanted patches, in the order of the catalogue.

    Raises:
        UnknownBase: naming the base that is none.
    """
    if wanted.base is not None:
        catalogue.get_base(wanted.base)
    return [patch for patch in _documents() if _is_wanted(patch, wanted)]


def get(patch_id: str) -> Patch:
    """One patch; raises NotFound."""
    try:
        catalogue.get_patch(patch_id)
    except UnknownPatch as error:
        # Named in the address, so this is 404; named in a body, it is 422.
        raise NotFound(str(error)) from error
    return next(patch for patch in _documents() if patch.id == patch_id)


def _documents() -> tuple[Patch, ...]:
    return _documents_of(catalogue.patches)


@functools.cache
def _documents_of(read: Callable[[], tuple[catalogue.Patch, ...]]) -> tuple[Patch, ...]:
    known = read()
    return tuple(Patch.model_validate(_document(patch, known)) for patch in known)


def _is_wanted(patch: Patch, wanted: Wanted) -> bool:
    texts = (patch.id, patch.short, patch.title, patch.author, patch.summary, patch.claim)
    told = " ".join((*texts, patch.objection, patch.fate, *patch.subjects)).casefold()
    of = {patch.id, patch.form_of}
    return (
        (wanted.q is None or wanted.q.casefold() in told)
        and (wanted.author is None or wanted.author.casefold() in patch.author.casefold())
        and (wanted.base is None or wanted.base in patch.applies_to)
        and (wanted.form_of is None or wanted.form_of in of)
        and (wanted.merged is None or wanted.merged is patch.is_merged)
    )


def _document(patch: catalogue.Patch, known: Sequence[catalogue.Patch]) -> dict[str, Any]:
    return catalogue.patch_document(patch) | {
        "is_merged": patch.fate.startswith("Merged"),
        "changes": [_change(patch, name) for name in patch.knobs],
        "applies_to": [
            base.id
            for base in catalogue.bases()
            if base.id not in patch.merged_in and base.id not in patch.not_on
        ],
        "forms": [_form(other, patch) for other in _family(patch, known)],
        "conflicts": [
            {"patch": other.id, "knobs": sorted(other.knobs.keys() & patch.knobs.keys())}
            for other in known
            if other is not patch and other.knobs.keys() & patch.knobs.keys()
        ],
        "needed_by": [other.id for other in known if patch.id in other.requires],
        "diffstat": None
        if patch.beginning is None
        else {"added": patch.beginning.added, "removed": patch.beginning.removed},
        "thread": _thread(patch),
        **_texts(patch),
    }


def _texts(patch: catalogue.Patch) -> dict[str, str]:
    """It, and what it is held against, as one writes them; on the first base that takes it."""
    before = _required(patch)
    for base in catalogue.bases():
        wanted = catalogue.PatchSet(base.id, (*before, patch.id))
        try:
            catalogue.resolve(wanted)
        except CatalogueError:
            continue
        return {
            "text": catalogue.patch_set_to_text(wanted),
            "held_against": catalogue.patch_set_to_text(catalogue.PatchSet(base.id, before)),
        }
    return {}


def _required(patch: catalogue.Patch) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in patch.requires:
        found |= dict.fromkeys((*_required(catalogue.get_patch(name)), name))
    return tuple(found)


def _change(patch: catalogue.Patch, name: str) -> dict[str, Any]:
    knob = _KNOBS[name]
    return {
        "knob": name,
        "question": knob.question,
        "answer": knob.values[patch.knobs[name]],
        "before": {base.id: knob.values[base.knobs[name]] for base in catalogue.bases()},
        "source": knob.source,
    }


def _family(patch: catalogue.Patch, known: Sequence[catalogue.Patch]) -> list[catalogue.Patch]:
    """The patch that this one is a form of, if it is one, and every other form."""
    origin = patch.form_of or patch.id
    return [other for other in known if other is not patch and origin in {other.id, other.form_of}]


def _form(other: catalogue.Patch, patch: catalogue.Patch) -> dict[str, Any]:
    return {
        "id": other.id,
        "title": other.title,
        "author": other.author,
        "date": other.date,
        "fate": other.fate,
        "is_merged": other.fate.startswith("Merged"),
        "is_origin": other.id == patch.form_of,
        "note": next((form.title for _, form in _shown() if form.patch == other.id), ""),
    }


def _shown() -> list[tuple[Topic, Any]]:
    return [(topic, form) for topic in TOPICS for form in topic.all_forms]


def _thread(patch: catalogue.Patch) -> dict[str, Any] | None:
    """What the thread says of the patch, or of the one it is a form of."""
    topic = next((topic for topic, form in _shown() if form.patch == patch.id), None)
    if topic is None:
        return None
    return {
        "patch": topic.posted.patch or None,
        "name": topic.name,
        "title": topic.title,
        "mail": topic.mail.to_dict(),
        "said": [
            {
                "mail": None if each.mail is None else each.mail.to_dict(),
                "text": each.said,
                "shown_by": each.elsewhere or None,
            }
            for each in topic.objections
        ],
        "explained": [{"check": name, "text": why} for name, why in topic.reasons.items()],
        "today": topic.today,
        "settled_by": topic.settled,
    }
