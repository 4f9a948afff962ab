import pytest

from refault.series.subjects import take_apart


@pytest.mark.parametrize(
    ("text", "number", "total", "version", "bare"),
    [
        ("[PATCH] x", None, None, 1, "x"),
        ("[PATCH v2 3/6] KVM: MMU: x", 3, 6, 2, "KVM: MMU: x"),
        ("[PATCHv2 1/2] x", 1, 2, 2, "x"),
        ("[PATCHV3 RFC 1/2] x", 1, 2, 3, "x"),
        ("[V2 PATCH 1/2] x", 1, 2, 2, "x"),
        ("[PATCH,v2,1/2] x", 1, 2, 2, "x"),
        ("[PATCH -v3 02/10] x", 2, 10, 3, "x"),
        ("[PATCH 2/2 v3] x", 2, 2, 3, "x"),
        ("[RFC PATCH v4 00/10] x", 0, 10, 4, "x"),
        ("[RFC][PATCH 1/2]x", 1, 2, 1, "x"),
        ("[PATCH][1/2] x", 1, 2, 1, "x"),
        ("[PATCH RESEND 1/3] x", 1, 3, 1, "x"),
        ("[PATCH 1 of 2 V3] x", 1, 2, 3, "x"),
        ("[PATCH take 2 1/2] x", 1, 2, 2, "x"),
        ("[some-list] [PATCH v2 2/2] x", 2, 2, 2, "x"),
        ("[v9fs-list] [PATCH 1/2] x", 1, 2, 1, "x"),
        ("[PATCH 5.10/5.15 1/2] x", 1, 2, 1, "x"),
        ("[PATCH 4.4/4.9] x", None, None, 1, "x"),
        ("[PATCH 6/7 1/2] x", 1, 2, 1, "x"),
        ("[1/2] x", 1, 2, 1, "x"),
        ("[PATCH 1/2]: x", 1, 2, 1, "x"),
        ("[PATCH] x (v2)", None, None, 2, "x"),
        ("[PATCH] x [y] z", None, None, 1, "x [y] z"),
        ("[PATCH v99999999999/2] x", None, None, 1, "x"),
    ],
)
def test_a_subject_says_number_total_and_version_in_many_ways(text, number, total, version, bare):
    found = take_apart(text)
    assert (found.number, found.total, found.version, found.bare) == (number, total, version, bare)
    assert not found.is_answer


@pytest.mark.parametrize(
    "words",
    [
        "Re:",
        "RE: ",
        "re :",
        "Re[2]:",
        "AW:",
        "Antw:",
        "SV: VS:",
        "WG:",
        "Fwd:",
        "TR :",
        "Odp:",
        "YNT:",
        "回复:",
        "答复\uff1a",
        "转发:",
        "Ответ:",
        "Vá:",
        "[some-list] Re:",
        "Réf:",
    ],
)
def test_an_answer_is_one_in_every_language(words):
    found = take_apart(f"{words} [PATCH v2 1/2] x")
    assert (found.is_answer, found.number, found.version, found.bare) == (True, 1, 2, "x")


@pytest.mark.parametrize("text", ["[PATCH] re: wind the tape", "KVM: MMU: x", "x86: y", ""])
def test_an_area_is_no_answer(text):
    assert not take_apart(text).is_answer
