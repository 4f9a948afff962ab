import re

import pytest

from refault.catalogue import KNOBS, SEED_SERIES, bases, get_patch, patches

FORMS = {
    "zap-restart": "zap-account",
    "zap-merged": "zap-account",
    "parent-stop-count": "parent-stop-bit",
    "cr4-store-norole": "cr4-posted",
}


@pytest.mark.parametrize("patch", patches(), ids=lambda patch: patch.id)
def test_every_patch_tells_its_whole_story(patch):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", patch.id)
    for field in ("title", "author", "date", "summary", "claim", "fate", "source", "short"):
        assert getattr(patch, field).strip() == getattr(patch, field) != "", field
    assert re.fullmatch(r"20\d\d(-\d\d(-\d\d)?)?", patch.date)
    assert not re.search(r"\s{2}|\n", patch.summary + patch.claim + patch.objection + patch.fate)


@pytest.mark.parametrize("patch", patches(), ids=lambda patch: patch.id)
def test_a_patch_sets_known_knobs_to_values_that_have_a_meaning_and_differ_from_the_base(patch):
    values = {knob.name: len(knob.values) for knob in KNOBS}
    for name, value in patch.knobs.items():
        assert 0 <= value < values[name]
        assert value != bases()[0].knobs[name]


def test_a_base_has_a_value_for_every_knob():
    for base in bases():
        assert list(base.knobs) == [knob.name for knob in KNOBS]
        for knob in KNOBS:
            assert 0 <= base.knobs[knob.name] < len(knob.values)


def test_every_value_of_every_knob_is_reached_by_the_base_or_a_patch():
    reached = {(name, value) for base in bases() for name, value in base.knobs.items()}
    reached |= {(name, value) for patch in patches() for name, value in patch.knobs.items()}
    assert reached == {(knob.name, value) for knob in KNOBS for value in range(len(knob.values))}


def test_ids_and_short_names_are_unique():
    assert len({patch.id for patch in patches()}) == len(patches()) == 11
    assert len({patch.short for patch in patches()}) == len(patches())


def test_the_seed_series_is_six_mails_of_one_day_by_one_author_in_order():
    series = [get_patch(patch_id) for patch_id in SEED_SERIES]
    assert {(patch.author, patch.date) for patch in series} == {("Xiao Guangrong", "2010-04-12")}
    assert [patch.title[:11] for patch in series] == [f"[PATCH {n}/6]" for n in range(1, 7)]


def test_the_list_follows_the_series_and_each_patch_is_followed_by_its_other_forms():
    listed = [patch.id for patch in patches()]
    assert [patch_id for patch_id in listed if patch_id in SEED_SERIES] == list(SEED_SERIES)
    for form, origin in FORMS.items():
        assert get_patch(form).form_of == origin
        between = listed[listed.index(origin) + 1 : listed.index(form)]
        assert not set(between) & set(SEED_SERIES)


def test_patches_one_and_five_change_no_behaviour():
    assert [get_patch(patch_id).knobs for patch_id in ("unsync-walk-struct", "sp-flags-word")] == [
        {},
        {},
    ]


def test_what_the_thread_cuts_off_is_marked_as_a_reconstruction():
    assert "cut off" in get_patch("parent-stop-bit").reconstruction
    assert "cut off" in get_patch("unsync-list-global").reconstruction
    assert get_patch("zap-account").reconstruction == ""
    assert get_patch("cr4-posted").reconstruction == ""


def test_a_patch_as_json_holds_plain_values_only():
    document = get_patch("cr4-store-norole").to_dict()
    assert document["knobs"] == {"cr4_write": 2, "role_cr4_pge": 0}
    assert document["requires"] == ["zap-account"]
    assert document["form_of"] == "cr4-posted"
    assert bases()[0].to_dict()["knobs"]["role_cr4_pge"] == 1
