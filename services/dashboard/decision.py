"""Which patches to merge, which not, and why: what a page says first.

The words for each patch are the rules' (``refault/compare/steps.py``); here they are put in the
order of a decision. Of a series the first patch set is the one that is decided on; the others are
forms to take instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from refault.compare.steps import COSTS_MORE, DO_NOT, NO_EFFECT, TAKE, UNKNOWN
from services.dashboard.formats import with_minus

_MARKS = {
    DO_NOT: ("✕", "alarm"),
    COSTS_MORE: ("▲", "more"),
    TAKE: ("✓", "less"),
    NO_EFFECT: ("=", "same"),
    UNKNOWN: ("…", "missing"),
}
_ORDER = (DO_NOT, COSTS_MORE, TAKE, UNKNOWN, NO_EFFECT)
_Steps = Sequence[Mapping[str, Any]]


def decision(batch: Mapping[str, Any], steps: _Steps) -> dict[str, Any] | None:
    """What each patch comes to, and of a series a sentence.

    None where nothing is known, and of a matrix: its grid says it, under each of its values.
    """
    if batch["plan"] == "matrix" or all(step["merge"] == UNKNOWN for step in steps):
        return None
    if batch["plan"] == "series":
        return _of_series(steps)
    # Siblings are one list: each is a set of its own.
    by_set = _by_set(steps) if batch["plan"] == "ablation" else {"": steps}
    return {"sentence": "", "lists": _lists(by_set), "forms": []}


def _of_series(steps: _Steps) -> dict[str, Any]:
    by_set = _by_set(steps)
    main, *others = by_set
    forms = [_form(name, by_set[name], by_set[main]) for name in others]
    return {
        "sentence": with_minus(_sentence(by_set[main], forms)),
        "lists": _lists({main: by_set[main]}),
        "forms": forms,
    }


def _by_set(steps: _Steps) -> dict[str, _Steps]:
    names = dict.fromkeys(step["set"] for step in steps)
    return {name: [step for step in steps if step["set"] == name] for name in names}


def _lists(by_set: Mapping[str, _Steps]) -> list[dict[str, Any]]:
    return [{"name": name, "rows": _rows(steps)} for name, steps in by_set.items()]


def _sentence(steps: _Steps, forms: Sequence[Mapping[str, Any]]) -> str:
    """The decision: what not to merge, what to take instead, what to merge, what does nothing."""
    told = []
    bad = _of(steps, DO_NOT)
    if bad:
        all_of = " The whole series has to wait." if len(bad) == len(steps) > 1 else ""
        told.append(f"Do not merge {_patches(bad)}: something goes wrong with it.{all_of}")
        if len(bad) > 1:
            told[0] = told[0].replace("with it.", "with each.")
    instead = [
        f"{form['name']} for {_patches([replaced])}"
        for form in forms
        if form["is_sound"]
        for replaced in bad
        if replaced["patch"] in form["replaces"]
    ]
    if instead:
        told.append(f"Take {_listed(instead)} instead.")
    if good := _of(steps, TAKE):
        told.append(f"Merge {_patches(good)}.")
    if dear := _of(steps, COSTS_MORE):
        told.append(f"{_patches(dear, is_first=True)} {_verb(dear, 'cost')} more.")
    if idle := _of(steps, NO_EFFECT):
        told.append(f"{_patches(idle, is_first=True)} {_verb(idle, 'make')} no notable difference.")
    if unknown := _of(steps, UNKNOWN):
        told.append(f"Of {_patches(unknown)} results are missing.")
    return " ".join(told)


def _rows(steps: _Steps) -> list[dict[str, Any]]:
    """One row for each patch, the worst first; those without effect in one."""
    rows = []
    for word in _ORDER:
        found = _of(steps, word)
        if word == NO_EFFECT and found:
            rows.append(_row(word, found, ""))
            continue
        rows += [_row(word, [step], step.get("brief") or step["sentence"]) for step in found]
    return rows


def _row(word: str, steps: _Steps, why: str) -> dict[str, Any]:
    sign, tone = _MARKS[word]
    [*_, last] = steps
    after = ""
    if last["carried_by"]:
        verb = "carries" if len(last["carried_by"]) == 1 else "carry"
        after = f"{', '.join(last['carried_by'])} {verb} it on"
    if last["ended_by"]:
        after = f"{after}; {last['ended_by']} ends it" if after else f"{last['ended_by']} ends it"
    return {
        "word": word,
        "sign": sign,
        "tone": tone,
        "patches": [
            {"number": step["number"], "id": step["patch"], "title": step.get("patch_title")}
            for step in steps
        ],
        "why": with_minus(why),
        "after": after,
    }


def _form(name: str, steps: _Steps, main: _Steps) -> dict[str, Any]:
    """Another patch set: what of the series it stands for, and whether it is sound as a whole."""
    ours = {step["patch"]: step for step in main}
    replaces = [
        step["form_of"]
        for step in steps
        if step.get("form_of") in ours and step["patch"] not in ours
    ]
    broken = [step for step in steps if step["merge"] == DO_NOT and not step["ended_by"]]
    unknown = _of(steps, UNKNOWN)
    new = [step for step in steps if step["patch"] not in ours]
    mended = [step for step in steps if step["merge"] == DO_NOT and step["ended_by"]]
    if broken:
        sign, tone, word = "✕", "alarm", "unsound"
        why = broken[0].get("brief") or broken[0]["sentence"]
    elif unknown:
        (sign, tone), word, why = _MARKS[UNKNOWN], "unknown", "results are missing"
    else:
        sign, tone, word = "✓", "less", "sound"
        why = "nothing goes wrong on these guests"
        if mended:
            why += f", once all of it is in: its {_patches(mended)} alone would break"
    return {
        "name": name,
        "is_sound": not broken and not unknown,
        "replaces": replaces,
        "instead": _patches([ours[patch] for patch in replaces]) if replaces else "",
        "patches": [step["patch"] for step in new or steps],
        "word": word,
        "sign": sign,
        "tone": tone,
        "why": with_minus(why),
    }


def _of(steps: _Steps, word: str) -> list[Mapping[str, Any]]:
    return [step for step in steps if step["merge"] == word]


def _patches(steps: _Steps, *, is_first: bool = False) -> str:
    """``patch 3 (parent-stop-bit)``, ``patches 3, 4 and 6``."""
    if len(steps) == 1 or any(step["number"] is None for step in steps):
        text = _listed([step["title"] for step in steps])
    else:
        numbers = [step["patch"] if step.get("patch_title") else step["number"] for step in steps]
        text = f"patches {_listed(list(map(str, numbers)))}"
    return text[:1].upper() + text[1:] if is_first and text.startswith("patch") else text


def _verb(steps: _Steps, verb: str) -> str:
    return f"{verb}s" if len(steps) == 1 else verb


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
