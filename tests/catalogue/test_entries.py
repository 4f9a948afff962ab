import re

import pytest

from refault.catalogue import (
    KNOBS,
    SEED_SERIES,
    PatchSet,
    bases,
    get_patch,
    golden_names,
    patches,
    resolve,
)
from refault.catalogue.layouts import Field, layout_document, sizeof
from refault.errors import WrongBase

FORMS = {
    "zap-account": {
        *("zap-restart", "zap-restart-posted", "zap-merged", "zap-list-empty"),
        *("zap-restart-walks", "zap-return-self", "zap-batch", "zap-children-invalid"),
    },
    "parent-stop-bit": {
        *("parent-stop-count", "unsync-clear-exact"),
        *("unsync-count-exact", "unsync-clear-complete", "parent-stop-merged"),
    },
    "cr4-posted": {
        *("cr4-store-norole", "cr4-store", "cr4-norole"),
        *("cr-reset-bits", "global-pages", "cr4-guest-flush"),
    },
    "sp-flags-word": {"sp-bool", "sp-bitfields"},
    "unsync-list-global": {
        *("unsync-list-vm", "unsync-list-reachable", "sync-flush-once"),
        *("write-flush-once", "flush-local-deferred", "sync-protect-once"),
    },
}


#: What kernels after the series have, and what none has: no forms of its patches.
LATER = (
    *("sync-transient", "unsync-many", "pte-prefetch"),
    *("invlpg-unsync", "pte-prefetch-exact", "sync-flush-lazy", "write-lost-flush"),
    *("pvm-prefault", "pvm-dirty-epoch", "pvm-table-queue", "pvm-root-pair"),
)


@pytest.mark.parametrize("patch", patches(), ids=lambda patch: patch.id)
def test_every_patch_tells_its_whole_story(patch):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", patch.id)
    for field in ("title", "author", "date", "summary", "claim", "fate", "source", "short"):
        assert getattr(patch, field).strip() == getattr(patch, field) != "", field
    assert re.fullmatch(r"20\d\d(-\d\d(-\d\d)?)?", patch.date)
    assert not re.search(r"\s{2}|\n", patch.summary + patch.claim + patch.objection + patch.fate)


@pytest.mark.parametrize("patch", patches(), ids=lambda patch: patch.id)
def test_a_patch_sets_known_knobs_to_values_that_have_a_meaning(patch):
    values = {knob.name: len(knob.values) for knob in KNOBS}
    for name, value in patch.knobs.items():
        assert 0 <= value < values[name]


@pytest.mark.parametrize("patch", patches(), ids=lambda patch: patch.id)
def test_a_patch_changes_every_base_it_can_go_on_and_is_refused_with_the_reason_elsewhere(patch):
    for base in bases():
        wanted = PatchSet(base.id, (*needed(patch, base), patch.id))
        reason = patch.merged_in.get(base.id, patch.not_on.get(base.id))
        if reason is not None:
            with pytest.raises(WrongBase, match=re.escape(reason)):
                resolve(wanted)
            continue
        without = resolve(PatchSet(base.id, wanted.patches[:-1]))
        assert (resolve(wanted).knobs != without.knobs) == bool(patch.knobs)


def needed(patch, base):
    """What must stand before a patch on a base that lacks it."""
    found = []
    for wanted in patch.requires:
        if base.id not in get_patch(wanted).merged_in:
            found += [*needed(get_patch(wanted), base), wanted]
    return found


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
    assert len({patch.id for patch in patches()}) == len(patches()) == 33 + len(LATER)
    assert len({patch.short for patch in patches()}) == len(patches())


def test_the_seed_series_is_six_mails_of_one_day_by_one_author_in_order():
    series = [get_patch(patch_id) for patch_id in SEED_SERIES]
    assert {(patch.author, patch.date) for patch in series} == {("Xiao Guangrong", "2010-04-12")}
    assert [patch.title[:11] for patch in series] == [f"[PATCH {n}/6]" for n in range(1, 7)]


def test_the_list_follows_the_series_and_each_patch_is_followed_by_its_other_forms():
    listed = [patch.id for patch in patches()]
    starts = [listed.index(patch_id) for patch_id in SEED_SERIES]
    assert starts == sorted(starts)
    assert tuple(listed[33:]) == LATER
    for start, end, origin in zip(starts, [*starts[1:], 33], SEED_SERIES, strict=True):
        assert set(listed[start + 1 : end]) == FORMS.get(origin, set())
        dates = [get_patch(form).date.ljust(10, "9") for form in listed[start + 1 : end]]
        assert dates == sorted(dates)


def test_patches_one_and_five_change_no_behaviour_in_any_form():
    assert {patch.id for patch in patches() if not patch.knobs} == {
        *("unsync-walk-struct", "sp-flags-word", "sp-bool", "sp-bitfields")
    }


def test_a_patch_says_under_which_names_the_real_code_was_run_with_it():
    found = {patch.id: golden_names(patch) for patch in patches()}
    assert found["zap-merged"] == ("rel34", "apr_p2merged")
    assert found["parent-stop-merged"] == ("p3fix", "apr_p3fix", "apr_p3full")
    assert found["unsync-list-vm"] == ("p6", "apr_p6")
    assert {patch_id for patch_id, names in found.items() if not names} == {
        *("zap-list-empty", "zap-restart-walks", "zap-return-self", "zap-batch"),
        *("zap-children-invalid", "cr4-store", "cr4-norole", "cr-reset-bits", "global-pages"),
        *("cr4-guest-flush", "sp-bool", "sp-bitfields", "unsync-list-reachable"),
        *("sync-flush-once", "write-flush-once", "flush-local-deferred", "sync-protect-once"),
        *LATER,
    }


# By hand, kvm.git of April 2010. x86-64: link and hash_link 32, gfn 8, role 4 and 4 of padding, spt
# and gfns 16, slot_bitmap 8: 72. Then int, int, bool with 3 of padding, int: 16, or 12 and 4 of
# padding. Then the parents 8, the bitmap 64. On i386 pointers and longs take 4, slot_bitmap two.
@pytest.mark.parametrize(
    ("form", "x86_64", "i386"),
    [
        ("int and bool", 72 + 16 + 8 + 64, 40 + 16 + 4 + 64),
        ("flag word", 72 + 12 + 4 + 8 + 64, 40 + 12 + 4 + 64),
        ("bool", 72 + 12 + 4 + 8 + 64, 40 + 12 + 4 + 64),
        ("bit fields", 72 + 12 + 4 + 8 + 64, 40 + 12 + 4 + 64),
    ],
)
def test_patch_5_saves_four_bytes_on_i386_and_none_on_x86_64(form, x86_64, i386):
    assert layout_document(form) == {
        "form": form,
        "x86-64": {"sizeof": x86_64, "cachelines": 3},
        "i386": {"sizeof": i386, "cachelines": 2},
        "before": {
            "x86-64": {"sizeof": 160, "cachelines": 3},
            "i386": {"sizeof": 124, "cachelines": 2},
        },
    }


def test_a_struct_is_padded_between_its_fields_and_at_its_end():
    assert sizeof([Field("a", "bool"), Field("b", "long"), Field("c", "bool")], 8) == 24
    assert sizeof([Field("a", "bits", 9), Field("b", "int")], 8) == 8
    assert sizeof([Field("a", "int"), Field("b", "bitmap", 65)], 8) == 24
    assert sizeof([Field("a", "bool")], 4) == 1


def test_what_the_thread_cuts_off_is_marked_as_a_reconstruction():
    assert "cut off" in get_patch("parent-stop-bit").reconstruction
    assert "cut off" in get_patch("unsync-list-global").reconstruction
    assert get_patch("zap-account").reconstruction == ""
    assert get_patch("cr4-posted").reconstruction == ""


def test_a_patch_as_json_holds_plain_values_only():
    document = get_patch("cr4-store-norole").to_dict()
    assert document["knobs"] == {"cr4_write": 2, "role_cr4_pge": 0}
    assert document["requires"] == []
    assert document["layout"] is None
    assert document["not_on"].keys() == {"v2.6.35.6"}
    assert get_patch("cr4-guest-flush").to_dict()["requires"] == ["cr4-norole"]
    assert document["form_of"] == "cr4-posted"
    assert bases()[0].to_dict()["knobs"]["role_cr4_pge"] == 1
