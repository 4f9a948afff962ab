"""Answers of questions as tables: failed checks; the guest's walk beside each shadow's.

The documents are those of ``refault audit``, ``diverge`` and ``inspect`` with ``--json``. What a
document does not have is not shown; the text of the answer has all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from refault.client.question_documents import QuestionDocument
from services.dashboard import audits
from services.dashboard.formats import difference, grouped
from services.dashboard.witnesses import verification

_FLAGS = ((0, "P"), (1, "W"), (2, "U"), (5, "A"), (6, "D"), (7, "PS"), (63, "NX"))
_CODE_BITS = ((0, "P"), (1, "W"), (2, "U"), (3, "RSVD"), (4, "F"))
#: Outcomes of an operation, by the codes of the documents.
_OK, _FAULTS, _RETURN = 1, (2, 3), 9
_ANSWERS = {
    0: "nothing to tell",
    4: "reaches a device",
    5: "cannot be fetched",
    6: "#GP",
    7: "faults again and again",
    8: "shuts the guest down",
}
_KEPT: tuple[str, ...] = ("gfn", "page", "vcpu")
_STORES = ("st", "st4", "st2", "st1")
_LOADS = ("ld",)
Ask = dict[str, str]
"""The fields of a question that a link asks."""


def answer_of(question: QuestionDocument) -> dict[str, Any] | None:
    """What the template shows of an answer; None where only its text says it."""
    answer = question.get("answer")
    if answer is None:
        return None
    if question["kind"] == "audit":
        return audits.alone(answer, question["variants"][0]["text"])
    if question["kind"] == "verification":
        return verification(answer)
    if question["kind"] == "divergence" and answer.get("divergences"):
        found = [_divergence(each, question) for each in answer["divergences"]]
        return {"kind": "divergence", "divergences": found, "on": answer["on"]}
    if question["kind"] == "inspection" and "vcpus" in answer:
        return _inspection(answer, question)
    return None


# --- words ----------------------------------------------------------------------------------------


def operation_text(row: Mapping[str, Any]) -> str:
    """An operation in words: ``st, vCPU 0, user, 0x400000 = 0x1``."""
    told = [row["kind"]]
    if row.get("vcpu") is not None:
        told.append(f"vCPU {row['vcpu']}")
    if row.get("witness") in {"acc", "pf", "ptw"} or row["kind"] in {*_STORES, *_LOADS, "ex"}:
        told.append("user" if row.get("user") else "kernel")
    told.append(row["a"] + (f" = {row['b']}" if row["kind"] in _STORES else ""))
    return ", ".join(told)


def flags(entry: str) -> str:
    """The bits of an entry by their letters: ``P W U A - - -``."""
    value = int(entry, 16)
    if not value & 1:
        return "absent"
    return " ".join(name if value >> bit & 1 else "-" for bit, name in _FLAGS)


def _outcome(row: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    if answer.get("broke") is not None:
        return f"the kernel broke: {answer['broke']}"
    emulated = ", emulated" if answer.get("is_emulated") else ""
    code = answer["code"]
    if code == _OK:
        reads = f", reads {answer['value']}" if row["kind"] in _LOADS else ""
        return f"reaches {answer['address']}{reads}{emulated}"
    if code in _FAULTS:
        bits = int(answer["address"], 16)
        letters = "|".join(letter for bit, letter in _CODE_BITS if bits >> bit & 1)
        return f"#PF {bits:#x} {letters}".rstrip() + emulated
    if code == _RETURN:
        return f"answers {int(answer['address'], 16)}"
    return _ANSWERS.get(code, f"outcome {code}") + emulated


# --- divergences ----------------------------------------------------------------------------------


def _divergence(found: Mapping[str, Any], question: QuestionDocument) -> dict[str, Any]:
    row, sides = found["operation"], (found["first"], found["second"])
    labels = [variant["text"] for variant in question["variants"]]
    gva = row["a"] if row["kind"] in {*_STORES, *_LOADS, "ex"} else None
    trace = question["trace"]["digest"]
    answers = [
        {
            "side": side,
            "label": label,
            "operation": grouped(answer["operation_index"]),
            "text": _outcome(row, answer),
            "look": _at(trace, label, answer["operation_index"], gva=gva),
            "after": _at(trace, label, answer["operation_index"] + 1, gva=gva),
        }
        for side, label, answer in zip("AB", labels, sides, strict=True)
    ]
    return {
        "event": grouped(row["event"]),
        "operation": grouped(found["first"]["operation_index"]),
        "text": operation_text(row),
        "answers": answers,
        "reasons": found.get("reasons", ()),
        "counts": [grouped(count) for count in found["counts"] or ()],
        "origin": _origin(found.get("origin"), trace, labels),
        "labels": labels,
        "moments": [
            {"when": when, **_moment(found[name], trace, labels, answers)}
            for when, name in (("before it", "before"), ("after it", "after"))
            if found.get(name)
        ],
    }


def _origin(
    origin: Mapping[str, Any] | None, trace: str, labels: Sequence[str]
) -> dict[str, Any] | None:
    if origin is None:
        return None
    index, row = origin["operation_index"], origin["operation"]
    return {
        "operation": grouped(index),
        "event": grouped(row["event"]),
        "text": operation_text(row),
        "pages": _page_rows(origin["pages"]),
        "looks": [_at(trace, label, index + 1) for label in labels],
    }


def _moment(
    moment: Mapping[str, Any],
    trace: str,
    labels: Sequence[str],
    answers: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    first, second = moment["first"], moment["second"]
    guest = first.get("guest") or second.get("guest")
    levels = _levels(guest, [first.get("walk") or [], second.get("walk") or []])
    for level in levels:
        for cell, label, answer in zip(level["shadows"], labels, answers, strict=True):
            if cell is not None:
                operation = int(answer["look"]["operation"])
                cell["look"] = _at(trace, label, operation, gfn=cell["gfn"])
    return {
        "mode": guest and guest["mode"],
        "cr3": guest and guest["cr3"],
        "levels": levels,
        "ends": [guest and guest["ends"], _reaches(first), _reaches(second)],
        "ends_differ": _reaches(first) != _reaches(second),
        "leaves": _leaf_rows(first, second),
        "counters": _counter_rows(first.get("counters") or {}, second.get("counters") or {}),
        "requests": [", ".join(each.get("requests") or ()) or "none" for each in (first, second)],
        "pages": _page_rows(moment.get("pages") or ()),
        "more_pages": moment.get("more_pages") or 0,
    }


def _reaches(mmu: Mapping[str, Any]) -> str:
    if not mmu.get("walk"):
        return "no walk"
    reaches = mmu.get("reaches")
    return f"maps gpa {reaches}" if reaches else f"ends {mmu['walk'][-1]['kind']}"


def _levels(
    guest: Mapping[str, Any] | None, walks: Sequence[Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """The walks side by side, a row a level, the highest first."""
    entries = {entry["level"]: entry for entry in (guest or {}).get("entries", ())}
    shadows = [{entry["level"]: entry for entry in walk} for walk in walks]
    numbers = sorted({*entries, *(level for walk in shadows for level in walk)}, reverse=True)
    rows = []
    for number in numbers:
        entry = entries.get(number)
        cells = [_shadow(walk.get(number)) for walk in shadows]
        told = [cell and (cell["page"], cell["text"]) for cell in cells]
        rows.append(
            {
                "level": number,
                "guest": entry
                and {
                    "gpa": entry["gpa"],
                    "gfn": f"{int(entry['gpa'], 16) >> 12:#x}",
                    "value": entry["value"],
                    "flags": flags(entry["value"]),
                },
                "shadows": cells,
                "differs": any(each != told[0] for each in told),
            }
        )
    return rows


def _shadow(entry: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    text = f"[{entry['index']}] {entry['kind']}"
    if entry["kind"] == "leaf":
        text += f" {entry['entry']}"
    if entry["kind"] != "absent":
        text += f" {flags(entry['entry'])}"
    notes = []
    if entry["unsync"]:
        notes.append("out of sync")
    if entry["unsync_children"]:
        notes.append(f"{entry['unsync_children']} out of sync below")
        notes.append("marked here" if entry["marked"] else "not marked here")
    elif entry["marked"]:
        notes.append("marked here")
    return {
        "page": entry["page"],
        "gfn": entry["gfn"],
        "text": text + (f"; {', '.join(notes)}" if notes else ""),
        "look": None,
    }


def _leaf_rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The leaves of the frames at hand, and which side has each."""
    sides = [_leaves(first), _leaves(second)]
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    return [
        {
            "gfn": name[0],
            "page": f"{name[1]} [{name[2]}]",
            "entries": [side.get(name, "none") for side in sides],
            "differs": sides[0].get(name) != sides[1].get(name),
        }
        for name in names
    ]


def _leaves(mmu: Mapping[str, Any]) -> dict[tuple[str, str, int], str]:
    return {
        (frame["gfn"], leaf["page"], leaf["index"]): leaf["entry"]
        for frame in mmu.get("reverse_maps") or ()
        for leaf in frame["leaves"]
    }


def _counter_rows(first: Mapping[str, int], second: Mapping[str, int]) -> list[dict[str, Any]]:
    rows = []
    for name in dict.fromkeys([*first, *second]):
        mine, other = first.get(name), second.get(name)
        delta = None if mine is None or other is None else other - mine
        rows.append(
            {
                "name": name,
                "values": [grouped(mine), grouped(other)],
                "change": "" if delta is None else difference(delta),
                "differs": mine != other,
            }
        )
    return rows


def _page_rows(pages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"gfn": page["gfn"], "sides": [page["first"] or "none", page["second"] or "none"]}
        for page in pages
    ]


# --- inspections ----------------------------------------------------------------------------------


def _inspection(answer: Mapping[str, Any], question: QuestionDocument) -> dict[str, Any]:
    trace, variant = question["trace"]["digest"], question["variants"][0]["text"]
    here = int(answer["operation_index"])
    latest, upcoming = answer.get("latest"), answer.get("upcoming")
    return {
        "kind": "inspection",
        "operation": grouped(here),
        "latest": latest and {"text": operation_text(latest), "event": grouped(latest["event"])},
        "upcoming": upcoming
        and {"text": operation_text(upcoming), "event": grouped(upcoming["event"])},
        "broke": answer.get("broke"),
        "is_truncated": answer.get("is_truncated"),
        "searched": answer.get("searched"),
        "changed": answer.get("changed") and _turn(answer["changed"], trace, variant),
        "vcpus": [_processor(each, trace, variant) for each in answer["vcpus"]],
        "summary": answer.get("summary"),
        "address": answer.get("address") and _address(answer["address"], trace, variant, here),
        "table": answer.get("table") and _table(answer["table"]),
        "page": answer.get("page") and _page(answer["page"]),
        "history": [
            _turn(each, trace, variant, _focus(question)) for each in answer.get("history") or ()
        ],
    }


def _focus(question: QuestionDocument) -> Ask:
    """What the question looks at, kept when another operation is asked for."""
    options = question["options"]
    kept: Ask = {name: str(options[name]) for name in _KEPT if name in options}
    gva = options.get("gva", options.get("until_change"))
    return kept if gva is None else kept | {"gva": str(gva)}


def _turn(
    turn: Mapping[str, Any], trace: str, variant: str, kept: Ask | None = None
) -> dict[str, Any]:
    index = turn["operation_index"]
    return {
        "operation": grouped(index),
        "event": grouped(turn["event_index"]),
        "text": turn["operation"],
        "changed": turn["changed"],
        "look": _at(trace, variant, index + 1, **(kept or {})),
    }


def _processor(processor: Mapping[str, Any], trace: str, variant: str) -> dict[str, Any]:
    flush = processor.get("last_flush")
    return {
        **processor,
        "registers": list(processor["registers"].items()),
        "last_flush": flush and _turn(flush, trace, variant),
    }


def _address(found: Mapping[str, Any], trace: str, variant: str, here: int) -> dict[str, Any]:
    levels = _levels(found["guest"], [found["walk"]])
    for level in levels:
        entry, [shadow] = level["guest"], level["shadows"]
        if entry is not None:
            entry["look"] = _at(trace, variant, here, gfn=entry["gfn"])
        if shadow is not None:
            shadow["look"] = _at(trace, variant, here, gfn=shadow["gfn"])
    reaches = found.get("reaches")
    walk = found["walk"]
    ends = f"maps gpa {reaches}" if reaches else f"ends {walk[-1]['kind']}" if walk else "no root"
    return {
        "gva": found["gva"],
        "mode": found["guest"]["mode"],
        "cr3": found["guest"]["cr3"],
        "has_shadow": found["has_shadow"],
        "levels": levels,
        "ends": [found["guest"]["ends"], ends],
        "agrees": (found["guest"].get("gpa") or None) == (reaches or None),
        "leaves": _reverse(found.get("reverse_map")),
        "pages": [_page(page) for page in found["pages"]],
    }


def _table(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "gfn": found["gfn"],
        "pages": [_page(page) for page in found["pages"]],
        "leaves": _reverse(found.get("reverse_map")),
    }


def _reverse(found: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if found is None:
        return []
    return [
        {"gfn": found["gfn"], **leaf, "flags": flags(leaf["entry"])} for leaf in found["leaves"]
    ]


def _page(page: Mapping[str, Any]) -> dict[str, Any]:
    parents = list(page["parents"])
    return {
        "number": page["number"],
        "name": page["name"] + (" (not in use)" if page["is_free"] else ""),
        "present": grouped(page["present"]),
        "unsync_children": grouped(page["unsync_children"]),
        "marks": ", ".join(map(str, page["marks"])) or "none",
        "parents": parents,
        "more_parents": page["more_parents"],
    }


def _at(trace: str, variant: str, operation: int, **view: str | None) -> Ask:
    """The question for the MMU of a variant where that operation comes next."""
    fields = {
        "kind": "inspection",
        "trace": trace,
        "variant": variant,
        "operation": str(operation),
    }
    return fields | {name: value for name, value in view.items() if value is not None}
