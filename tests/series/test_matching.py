import re

import pytest

from refault import catalogue
from refault.catalogue import SEED_SERIES
from refault.errors import SeriesError, UnknownPatch
from refault.series import apply_mapping, diff_id, match, patch_ids, read, remedies
from refault.series.matching import normalised
from tests.series.known import POSTED, teach, teach_beginning, teach_parts
from tests.series.mails import diff, mail, mbox

NOT_PUBLIC = {
    "cr4-store",
    "cr4-store-norole",
    "parent-stop-count",
    "sp-bitfields",
    "sync-flush-once",
    "unsync-clear-exact",
    "unsync-list-reachable",
    "unsync-list-vm",
    "zap-children-invalid",
    "zap-list-empty",
    "zap-restart",
    "zap-restart-posted",
    # proposed without code
    "pvm-dirty-epoch",
    "pvm-prefault",
    "pvm-root-pair",
    "pvm-table-queue",
}


def subject_of(patch_id):
    return catalogue.get_patch(patch_id).subjects[0]


def matched(data):
    return match(read(data).patches)


def found_as(data):
    [found] = matched(data)
    return found.patch, found.by, found.candidates


def test_every_patch_that_was_mailed_or_merged_can_be_recognised():
    known = {
        patch.id
        for patch in catalogue.patches()
        if patch.subjects and patch.files and (patch.diff_ids or patch.parts or patch.beginning)
    }
    assert {patch.id for patch in catalogue.patches()} - known == NOT_PUBLIC


def test_no_two_patches_are_known_by_one_diff():
    names = [
        name
        for patch in catalogue.patches()
        for names in (patch.diff_ids, *patch.parts)
        for name in names
    ]
    assert len(names) == len(set(names))
    assert all(len(name) == 64 for name in names)
    for patch in catalogue.patches():
        assert set(patch.places) <= set(names)
        assert {catalogue.get_patch(other).id for other in patch.elsewhere} == set(patch.elsewhere)


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


def test_a_series_is_known_by_its_diffs_whatever_its_subjects(monkeypatch):
    texts = {patch: diff(patch) for patch in SEED_SERIES}
    teach(monkeypatch, texts)
    data = mbox(
        *(
            mail(f"[PATCH {number}/6] words", texts[patch])
            for number, patch in enumerate(SEED_SERIES, start=1)
        )
    )
    assert [(entry.patch, entry.by) for entry in matched(data)] == [
        (patch, "diff") for patch in SEED_SERIES
    ]


@pytest.mark.parametrize(
    "text",
    [
        diff("other"),
        diff(path="fish/lake.c"),
        POSTED.replace("+\t\treturn;\n", "").replace("+20,8", "+20,7"),
        POSTED[: POSTED.index("+\t\treturn")],
    ],
    ids=["other lines", "another file", "a line less", "cut off"],
)
def test_a_known_subject_never_matches_against_a_diff_that_says_otherwise(monkeypatch, text):
    teach(monkeypatch, {"cr4-posted": POSTED})
    [found] = matched(mail(f"[PATCH v2] {subject_of('cr4-posted')}", text))
    assert (found.patch, found.by, found.candidates) == (None, None, ("cr4-posted",))
    assert found.why.startswith("its subject is that of cr4-posted, its diff is not")


def test_a_patch_that_is_taken_back_is_not_matched(monkeypatch):
    teach(monkeypatch, {"cr4-posted": diff("one")})
    swapped = diff("one").replace("-\tfrog", "-\tone").replace("+\tone", "+\tfrog")
    [found] = matched(mail(f'[PATCH] Revert "{subject_of("cr4-posted")}"', swapped))
    assert (found.patch, found.candidates) == (None, ("cr4-posted",))
    assert found.why == "it reverts cr4-posted"


def test_the_same_lines_in_another_place_are_another_patch(monkeypatch):
    teach(monkeypatch, {"cr4-posted": POSTED})
    moved = re.sub(r"(?m)^ .*", " \tquite_other();", POSTED)
    [found] = matched(mail("[PATCH] x", moved))
    assert (found.patch, found.candidates) == (None, ("cr4-store", "cr4-posted"))
    assert found.why == "the lines of cr4-posted, but in another place"


def test_a_diff_without_context_is_a_candidate_for_its_place_is_not_told(monkeypatch):
    teach(monkeypatch, {"cr4-posted": POSTED})
    bare = "--- a/arch/x86/kvm/pond.c\n+++ b/arch/x86/kvm/pond.c\n@@ -22,0 +23,2 @@\n"
    [found] = matched(mail("[PATCH] x", bare + "+\tif (depth == shore)\n+\t\treturn;\n"))
    assert (found.patch, found.candidates[-1]) == (None, "cr4-posted")
    assert found.why.endswith("but without context lines that show the place")


def test_a_path_is_known_whatever_stands_before_it_or_is_missing(monkeypatch):
    teach(monkeypatch, {"cr4-posted": POSTED})
    for path in ("arch/x86/kvm/pond.c", "linux/arch/x86/kvm/pond.c", "kvm/pond.c", "pond.c"):
        both = POSTED.replace("a/arch/x86/kvm/pond.c", path).replace("b/" + path, path)
        both = both.replace("b/arch/x86/kvm/pond.c", path)
        assert found_as(mail("[PATCH] x", both))[:2] == ("cr4-posted", "diff"), path
    other = POSTED.replace("arch/x86/kvm/pond.c", "arch/x86/kvm/lake.c")
    assert found_as(mail("[PATCH] x", other))[0] is None


def test_several_commits_are_a_patch_only_together(monkeypatch):
    texts = [diff(word) for word in ("one", "two", "three")]
    teach_parts(monkeypatch, "zap-batch", *texts)
    mails = [mail(f"[PATCH {at}/3] x", text) for at, text in enumerate(texts, start=1)]
    whole = matched(mbox(*mails))
    assert [entry.patch for entry in whole] == ["zap-batch"] * 3
    assert patch_ids(whole) == ("zap-batch",)
    some = matched(mbox(*mails[:2]))
    assert [(entry.patch, entry.candidates) for entry in some] == [(None, ("zap-batch",))] * 2
    assert some[1].why == "part 2 of 3 of zap-batch; the others are not here"


def test_one_part_that_is_mapped_by_hand_hides_none_of_the_patch(monkeypatch):
    texts = [diff("one"), diff("two")]
    teach_parts(monkeypatch, "zap-batch", *texts)
    found = matched(mbox(*(mail(f"[PATCH {at}/2] x", text) for at, text in enumerate(texts, 1))))
    assert patch_ids(apply_mapping(found, {0: "-"})) == ("zap-batch",)


def test_a_patch_of_which_only_the_beginning_is_known_is_matched_by_subject_and_beginning(
    monkeypatch,
):
    teach_beginning(monkeypatch, "parent-stop-bit", POSTED, 1)
    subject = f"[PATCH 3/6] {subject_of('parent-stop-bit')}"
    assert found_as(mail(subject, POSTED))[:2] == ("parent-stop-bit", "subject")
    assert found_as(mail("[PATCH 3/6] words", POSTED))[0] is None
    cut = POSTED[: POSTED.index("+\t\treturn")]
    assert found_as(mail(subject, cut)) == (None, None, ("parent-stop-bit",))
    longer = POSTED.replace("+\t\treturn;\n", "+\t\treturn;\n+\tx();\n").replace("+20,8", "+20,9")
    assert found_as(mail(subject, longer))[0] is None


def test_a_patch_that_only_renames_says_so_and_is_not_matched():
    text = "diff --git a/a.c b/b.c\nsimilarity index 100%\nrename from a.c\nrename to b.c\n"
    [found] = matched(mail("[PATCH] move", text))
    assert (found.patch, found.why) == (None, "no changed lines: rename from a.c; rename to b.c")


def test_what_can_be_done_is_said_of_what_is_not_matched(monkeypatch):
    teach(monkeypatch, {"cr4-posted": POSTED})
    open_one = matched(mail("[PATCH] new"))
    assert remedies(open_one, "--map ")[0].endswith("map it by hand: --map 0=ID")
    assert remedies(apply_mapping(open_one, {0: "-"}), "--map ") == ()
    assert remedies(matched(mail("[PATCH] new", POSTED)), "--map ") == ()


def test_a_guess_is_made_of_the_mail_it_is_for_and_no_other():
    data = mbox(
        mail("[PATCH 1/2] zzz", diff("q")), mail("[PATCH 2/2] KVM MMU: optimise for writing cr4")
    )
    assert remedies(match(read(data).patches), "--map ")[0].endswith("--map 1=cr4-posted")


def test_a_subject_is_known_however_its_area_is_written():
    for text in ("KVM: MMU: Optimize for  writing CR4.", "[RFC] kvm mmu: optimize for writing cr4"):
        assert normalised(text) == "optimize for writing cr4"


def test_a_known_diff_is_known_under_any_subject(monkeypatch):
    teach(monkeypatch, {"zap-account": diff()})
    assert found_as(mail("[PATCH] renamed"))[:2] == ("zap-account", "diff")


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
