"""Answers as tables: both states side by side, differences in words, and each address a step on."""

import copy

import pytest

from tests.api.test_questions import answer
from tests.dashboard.test_doors import form_key
from tests.dashboard.test_pages import HOSTILE, Page
from tests.dashboard.test_questions import trace  # noqa: F401 - a fixture

pytestmark = pytest.mark.anyio

STORE = {
    "kind": "st", "event": 41, "vcpu": 0, "user": True, "aux": 0, "a": "0x400000", "b": "0x1",
    "witness": "pf", "want": "0x6",
}  # fmt: skip


def level(number, gfn, kind, entry="0x3ca0027", **given):
    fields = {"unsync": False, "unsync_children": 0, "marked": False, "index": 5}
    page = f"sp gfn {gfn[2:]} {number}/4"
    return (
        fields | {"level": number, "page": page, "gfn": gfn, "kind": kind, "entry": entry} | given
    )


GUEST = {
    "mode": "long mode", "cr3": "0x100000",
    "entries": [{"level": 4, "gpa": "0x100000", "value": "0x105067"},
                {"level": 1, "gpa": "0x107000", "value": "0x0"}],
    "ends": "absent at level 1", "gpa": None, "table": "0x107",
}  # fmt: skip
FIRST = {
    "is_kept": True, "guest": GUEST, "reaches": None, "reverse_maps": [], "requests": [],
    "walk": [level(4, "0x100", "link"), level(1, "0x107", "absent", "0x0")],
    "counters": {"synced": 7, "hw_flush": 3},
}  # fmt: skip
LEAF = level(1, "0x107", "leaf", "0x80000000029e6267", unsync=True)
SECOND = FIRST | {
    "walk": [level(4, "0x100", "link"), LEAF],
    "reaches": "0x29e6000",
    "counters": {"synced": 5, "hw_flush": 3},
    "reverse_maps": [
        {"gfn": "0x29e6", "more": 0,
         "leaves": [{"page": "sp gfn 107 1/4", "index": 5, "entry": "0x29e6267"}]}
    ],
}  # fmt: skip
MOMENT = {"first": FIRST, "second": SECOND, "pages": [
    {"gfn": "0x107", "first": None, "second": HOSTILE}], "more_pages": 0}  # fmt: skip
DIVERGENCE = {
    "on": "outcome", "mode": "long",
    "divergences": [{
        "row": 40, "operation": STORE, "counts": None, "before": MOMENT, "after": MOMENT,
        "first": {"operation_index": 40, "code": 2, "address": "0x6", "value": "0x0",
                  "is_emulated": False, "walked": None, "broke": None},
        "second": {"operation_index": 40, "code": 1, "address": "0x29e6000", "value": "0x0",
                   "is_emulated": False, "walked": None, "broke": None},
        "origin": {"operation_index": 17, "operation": STORE, "pages": []},
    }],
}  # fmt: skip
TURN = {
    "operation_index": 12,
    "event_index": 13,
    "operation": "st",
    "changed": ["went out of sync"],
}
VIEW = {
    "operation_index": 40, "latest": None, "upcoming": STORE, "broke": None, "changed": None,
    "searched": None, "is_truncated": False, "summary": None, "table": None, "page": None,
    "vcpus": [{"vcpu": 0, "mode": "long mode", "registers": {"CR3": "0x100000"}, "roots": [],
               "requests": [], "last_flush": TURN}],
    "address": {"gva": "0x400000", "vcpu": 0, "guest": GUEST, "has_shadow": True,
                "walk": SECOND["walk"], "reaches": "0x29e6000", "reverse_map": None, "pages": []},
    "history": [TURN],
}  # fmt: skip


async def asked(anna, trace, found, rows, **fields):  # noqa: F811
    """The page of a question that was asked and answered, and its address."""
    page = await anna.get("/questions/new")
    sent = {"form_key": form_key(page), "trace": trace, "variant": "base"} | fields
    address = (await anna.post("/questions", data=sent)).headers["location"]
    answer(rows, {"answer": found, "text": "as text\n"})
    return await anna.get(address), address


async def test_a_divergence_shows_both_mmus_beside_the_guests_tables(anna, rows, trace):  # noqa: F811
    page, _ = await asked(anna, trace, DIVERGENCE, rows, kind="divergence", second="p3")
    text = Page(page).text
    assert "They differ first at operation 40" in text
    assert "#PF 0x6 W|U" in text
    assert "reaches 0x29e6000" in text
    assert "st, vCPU 0, user, 0x400000 = 0x1" in text
    assert "4 0x105067 P W U A D - - at 0x100000" in text
    assert text.count("≠ differs") > text.count("= same") > 0
    assert "[5] leaf 0x80000000029e6267 P W U A D - NX; out of sync" in text
    assert "synced 7 5 −2 ≠ differs" in text
    assert HOSTILE not in page.text
    assert len(Page(page).all("table")) == len(Page(page).all("caption"))
    assert "The whole answer as text" in text


async def test_every_place_of_a_divergence_is_one_step_from_the_inspector(anna, rows, trace):  # noqa: F811
    page, _ = await asked(anna, trace, DIVERGENCE, rows, kind="divergence", second="p3")
    fields = [
        {tag["name"]: tag["value"] for tag in group if "name" in tag} for group in _forms(page.text)
    ]
    into = [each for each in fields if each.get("kind") == "inspection"]
    assert {(each["variant"], each["operation"]) for each in into} >= {
        ("base", "40"), ("p3", "40"), ("base", "41"), ("p3", "41"), ("base", "18"), ("p3", "18")
    }  # fmt: skip
    assert any(each.get("gfn") == "0x107" for each in into)
    step = next(each for each in into if each.get("gva") == "0x400000")
    assert (await anna.post("/questions", data=step)).status_code == 303


async def test_a_view_shows_where_the_shadow_leaves_the_guests_tables(anna, rows, trace):  # noqa: F811
    page, _ = await asked(
        anna, trace, VIEW, rows, kind="inspection", operation="40", gva="0x400000"
    )
    text = Page(page).text
    assert "Before operation 40" in text
    assert "maps gpa 0x29e6000 ≠ not where the guest’s tables lead" in text
    assert "went out of sync" in text
    history = [each for each in _forms(page.text) if ("operation", "13") in _pairs(each)]
    assert any(("gva", "0x400000") in _pairs(each) for each in history), "the view is kept"


async def test_a_viewer_gets_links_to_a_form_instead(site, rows, http, anna, trace):  # noqa: F811
    _, address = await asked(anna, trace, VIEW, rows, kind="inspection", gva="0x400000")
    page = Page(await http.get(address))
    links = [tag["href"] for tag in page.all("a")]
    assert any("gfn=0x107" in link and "operation=40" in link for link in links)
    assert "form_key" not in {tag.get("name") for tag in page.all("input")}


async def test_a_divergence_says_why_in_sentences(anna, rows, trace):  # noqa: F811
    found = copy.deepcopy(DIVERGENCE)
    found["divergences"][0]["reasons"] = ["A is right, B is wrong.", HOSTILE]
    page, _ = await asked(anna, trace, found, rows, kind="divergence", second="p3")
    assert "Why A is right, B is wrong." in Page(page).text
    assert HOSTILE not in page.text


BROKEN = {
    "check": "F-U1", "title": "every link on the way to an out-of-sync page is marked",
    "event_index": 1700, "operation_index": 1671, "operation": "st vCPU 0", "vcpu": 0,
    "address": "0x400000", "address_kind": "gva", "got": HOSTILE, "want": "marked", "count": 3,
    "cause": [{"operation_index": 1600, "text": "lost here"}], "exception": None,
}  # fmt: skip
AUDIT = {
    "trace_digest": "ab" * 32, "variant_digest": "cd" * 32, "sweeps": 139, "accesses": 9548,
    "operation_count": 1_095_269, "stopped": None, "broken": [],
}  # fmt: skip


async def test_an_audit_says_first_whether_a_check_failed(anna, rows, trace):  # noqa: F811
    page, _ = await asked(anna, trace, AUDIT, rows, kind="audit")
    text = Page(page).text
    assert "No check failed" in text
    assert (
        "139 sweeps of the whole MMU and 9,548 accesses checked, over 1,095,269 operations." in text
    )


async def test_failed_checks_of_an_audit_lead_into_the_inspector(anna, rows, trace):  # noqa: F811
    known = BROKEN | {"check": "F-T2", "exception": "F-X2", "got": "writable"}
    found = AUDIT | {"broken": [BROKEN, known]}
    page, _ = await asked(anna, trace, found, rows, kind="audit")
    text = Page(page).text
    assert "2 checks failed, 1 by known exceptions" in text
    assert "F-U1 does not hold: every link on the way" in text
    assert "3 places, first at operation 1,671 , event 1,700" in text
    assert "Known: F-X2." in text
    assert any("operation=1672" in link["href"] for link in Page(page).all("a"))
    assert HOSTILE not in page.text

    found = AUDIT | {"broken": [known], "stopped": "use-after-free"}
    page, _ = await asked(anna, trace, found, rows, kind="audit", level="every")
    assert "1 check failed, all known exceptions" in Page(page).text
    assert "The simulated kernel broke before the end: use-after-free" in Page(page).text


async def test_a_verification_says_first_whether_the_trace_is_good(anna, rows, trace):  # noqa: F811
    good = {
        "asked": 1200, "agreed": 1200, "share": 1.0, "is_good": True, "complaint": "",
        "first": [],
        "witnesses": {
            "read": {"asked": 1100, "agreed": 1100},
            "fault": {"asked": 100, "agreed": 100},
        },
    }  # fmt: skip
    page, _ = await asked(anna, trace, good, rows, kind="verification")
    text = Page(page).text
    assert "Good: its own page tables explain every witness" in text
    assert "reads 1,100 1,100 0" in text


async def test_a_verification_that_is_not_good_says_why_and_where(anna, rows, trace):  # noqa: F811
    bad = {
        "asked": 1200, "agreed": 1100, "share": 0.9167, "is_good": False,
        "complaint": "91.6667% of its witnesses agree, under the bar of 99.99%",
        "witnesses": {"fault": {"asked": 1200, "agreed": 1100}},
        "first": [{"event_index": 2017, "vcpu": 0, "name": "fault", "is_user": True,
                   "gva": "0x401000", "seen": "0x6", "told": HOSTILE}],
    }  # fmt: skip
    page, _ = await asked(anna, trace, bad, rows, kind="verification")
    text = Page(page).text
    assert "Not good: 91.6667% of its witnesses agree" in text
    assert "page faults 1,200 1,100 100" in text
    assert (
        "event 2,017 , vCPU 0, fault, user, gva 0x401000 : the guest took a #PF of code 0x6" in text
    )
    assert HOSTILE not in page.text


async def test_an_answer_without_a_difference_is_told_in_its_words(anna, rows, trace):  # noqa: F811
    found = copy.deepcopy(DIVERGENCE) | {"divergences": []}
    page, _ = await asked(anna, trace, found, rows, kind="divergence", second="p3")
    assert "<details open>" in page.text
    assert "They differ first" not in page.text


def _forms(text):
    """The inputs of each form of a page."""
    return [
        Page(_Text(f"<form>{part.partition('>')[2].partition('</form>')[0]}</form>")).all("input")
        for part in text.split("<form ")[1:]
    ]


def _pairs(inputs):
    return {(tag.get("name"), tag.get("value")) for tag in inputs}


class _Text:
    def __init__(self, text):
        self.text = text
