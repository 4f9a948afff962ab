"""The columns of a batch on its page: what made their numbers, and the form that chooses some."""

from collections.abc import Mapping, Sequence
from typing import Any

from refault.client import BatchDocument
from refault.compare.titles import engine_word
from services.dashboard.arrangement import PINS_MAX, SORTS
from services.dashboard.place import Place

SHADOW, KERNEL = "shadow", "kernel"


def engine_of(engine: str, variant_name: str, batch: BatchDocument) -> dict[str, Any]:
    """What made the numbers of a column; ``engine`` is empty where all are the model's."""
    word = engine_word(engine)
    is_model = engine == SHADOW
    shown = "" if is_model and not has_engines(batch) else word
    return {
        # The label of such a column names a patch; its variant names the kernel.
        "engine": f"{word} · {variant_name}" if engine == KERNEL else shown,
        "engine_word": word,
        "is_model": is_model,
        "real_code": "it is the real code" if engine == KERNEL else "–",
    }


def has_engines(batch: BatchDocument) -> bool:
    """Whether a column is of another engine than the model."""
    return any(name != SHADOW for name in batch["simulators"])


def columns_of(batch: BatchDocument, place: Place, shown: Sequence[str]) -> list[dict[str, Any]]:
    """Every column of the batch, with whether it is shown; ``shown`` are variant digests."""
    bases = {entry["id"]: entry["base"] for entry in batch["patch_sets"]}
    found = []
    for index, column in enumerate(batch["columns"]):
        variant = column["variant"]
        found.append(
            {
                "index": index,
                "is_base": index == place.base,
                "is_shown": variant["digest"] in shown,
                "is_pinned": index in place.arrangement.pins,
                "label": column["label"],
                "name": variant["name"],
                "golden_name": variant["golden_name"],
                **engine_of(variant["engine"], variant["name"], batch),
                "digest": variant["digest"],
                "patch_set": column["patch_set_id"],
                "kernel": _kernel_of(bases[column["patch_set_id"]]),
                "href": place.query(base=index, cursor=None),
            }
        )
    return found


def chooser_of(place: Place, columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The form that chooses, pins and sorts columns, and says which rows are shown."""
    arrangement = place.arrangement
    kept = {"trace": place.trace, "costs": place.costs}
    hidden = [column["label"] for column in columns if not column["is_shown"]]
    return {
        "kept": {name: value for name, value in kept.items() if value},
        "sorts": [
            {"name": name, "title": title, "is_chosen": name == arrangement.sort}
            for name, title in SORTS.items()
        ],
        "every": arrangement.every,
        "over": arrangement.over_text,
        "pins_max": PINS_MAX,
        "count": f"{len(columns) - len(hidden)} of {len(columns)}",
        "is_changed": bool({"base", *arrangement.fields}.intersection(place.fields)),
        "hidden": hidden,
        "whole": place.query(**dict.fromkeys((*arrangement.fields, "base", "cursor"))),
    }


def _kernel_of(base: str) -> str | None:
    """The name of the kernel that a patch set is on; it may be deleted by now."""
    engine, colon, name = base.partition(":")
    return name if colon and engine == KERNEL else None
