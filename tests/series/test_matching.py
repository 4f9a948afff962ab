import pytest

from refault import catalogue
from refault.catalogue import SEED_SERIES
from refault.errors import SeriesError, UnknownPatch
from refault.series import apply_mapping, diff_id, match, read
from refault.series.matching import normalised
from tests.series.mails import diff, mail, mbox


def known(patch_id):
    return catalogue.get_patch(patch_id).subjects[0]


def test_line_numbers_spaces_and_neighbours_do_not_change_what_a_diff_is():
    moved = diff(at=999).replace("\twater();", "\tice();").replace("\t", "    ")
    assert diff_id(moved) == diff_id(diff())


@pytest.mark.parametrize(
    "other", [diff("two"), diff(path="fish/lake.c"), diff().replace("-\tfrog", "-\ttoad")]
)
def test_another_line_or_file_is_another_diff(other):
    assert diff_id(other) != diff_id(diff())


def test_the_order_of_the_files_does_not_matter_and_words_are_no_diff():
    one, two = diff("x", "a.c"), diff("y", "b.c")
    assert diff_id(one + two) == diff_id(two + one)
    assert diff_id("words\n--- \n+++ \n+not a hunk\n") is None


def test_a_removed_line_that_looks_like_a_file_name_is_a_line():
    text = "--- a/x\n+++ b/x\n@@ -1,2 +1,1 @@\n--- a/y\n z\n"
    assert diff_id(text) not in {None, diff_id(text.replace("--- a/y", "--- a/w"))}


def test_the_seed_series_is_known_by_its_subjects():
    data = mbox(
        *(
            mail(f"[PATCH {number}/6] {known(patch)}", diff(patch))
            for number, patch in enumerate(SEED_SERIES, start=1)
        )
    )
    found = match(read(data).patches)
    assert [(entry.patch, entry.by) for entry in found] == [
        (patch, "subject") for patch in SEED_SERIES
    ]


def test_a_subject_is_known_however_its_area_is_written():
    for text in ("KVM: MMU: Optimize for  writing CR4.", "[RFC] kvm mmu: optimize for writing cr4"):
        assert normalised(text) == "optimize for writing cr4"


def test_a_known_diff_is_known_under_any_subject(monkeypatch):
    wanted = catalogue.get_patch("zap-account")
    object_with_diff = type(wanted)(
        **{
            name: getattr(wanted, name)
            for name in wanted.__dataclass_fields__
            if name != "diff_ids"
        },
        diff_ids=(diff_id(diff()),),
    )
    monkeypatch.setattr(catalogue, "patches", lambda: (object_with_diff,))
    [found] = match(read(mail("[PATCH] renamed")).patches)
    assert (found.patch, found.by) == ("zap-account", "diff")


def test_what_nobody_knows_is_listed_with_what_looks_alike():
    data = mbox(
        mail("[PATCH 1/2] KVM MMU: optimise for writing cr4"), mail("[PATCH 2/2] zzz", diff("q"))
    )
    near, far = match(read(data).patches)
    assert (near.patch, near.candidates[0]) == (None, "cr4-posted")
    assert (far.patch, far.candidates) == (None, ())


def test_a_person_maps_what_is_unknown_and_leaves_out_what_does_not_belong():
    data = mbox(mail("[PATCH 1/2] x"), mail("[PATCH 2/2] y", diff("q")))
    mapped = apply_mapping(match(read(data).patches), {0: "zap-account", 1: "-"})
    assert [(entry.patch, entry.by) for entry in mapped] == [
        ("zap-account", "mapping"),
        (None, "left out"),
    ]


def test_a_mapping_that_cannot_be_is_refused():
    found = match(read(mail("[PATCH] x")).patches)
    with pytest.raises(SeriesError, match="no patch 7"):
        apply_mapping(found, {7: "zap-account"})
    with pytest.raises(UnknownPatch, match="zap-acount"):
        apply_mapping(found, {0: "zap-acount"})
