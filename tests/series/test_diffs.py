import re

import pytest

from refault.series import diff_id
from refault.series.diffs import parse, same_places
from tests.series.known import POSTED
from tests.series.mails import diff

FOUR_LINES = "@@ -10,3 +10,3 @@\n \twater();\n-\tfrog();\n+\tone();\n \tmud();\n"


def named(old, new):
    return f"--- {old}\n+++ {new}\n{FOUR_LINES}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a/fish/pond.c", "b/fish/pond.c"),
        ("fish/pond.c", "fish/pond.c"),
        ("kvm.orig/fish/pond.c", "kvm/fish/pond.c"),
        ("/src/ann/linux.old/fish/pond.c", "/src/ann/linux/fish/pond.c"),
        ("i/fish/pond.c", "w/fish/pond.c"),
        ("c/fish/pond.c", "w/fish/pond.c"),
        ("o/fish/pond.c", "i/fish/pond.c"),
        ("fish/pond.c.orig", "fish/pond.c"),
        ("fish/pond.c~", "fish/pond.c"),
        ("a/fish/pond.c\t2010-04-12 16:01:00", "b/fish/pond.c\t2010-04-12 16:02:00"),
        ("fish/pond.c (revision 3)", "fish/pond.c (working copy)"),
        ('"a/fish/pond.c"', '"b/fish/pond.c"'),
    ],
)
def test_what_a_tool_writes_before_a_path_does_not_change_a_diff(old, new):
    assert diff_id(named(old, new)) == diff_id(diff())


def test_a_diff_of_another_file_or_in_the_other_direction_is_another_diff():
    assert diff_id(named("a/fish/lake.c", "b/fish/lake.c")) != diff_id(diff())
    backwards = parse(diff()).reverse()
    assert backwards.digest not in {diff_id(diff()), None}
    assert backwards.reverse().digest == diff_id(diff())


def test_a_new_and_a_removed_file_have_the_name_that_is_one():
    text = "@@ -0,0 +1 @@\n+x\n"
    assert list(parse(f"--- /dev/null\n+++ b/fish/new.c\n{text}").files) == ["fish/new.c"]
    gone = "@@ -1 +0,0 @@\n-x\n"
    assert list(parse(f"--- a/fish/old.c\n+++ /dev/null\n{gone}").files) == ["fish/old.c"]


def test_a_renamed_file_with_changes_has_its_new_name():
    head = (
        "diff --git a/fish/pond.c b/lake/pond.c\nrename from fish/pond.c\nrename to lake/pond.c\n"
    )
    assert list(parse(head + named("a/fish/pond.c", "b/lake/pond.c")).files) == ["lake/pond.c"]


def test_line_ends_and_form_feeds_within_a_line_do_not_end_it():
    fed = diff().replace("\twater", "\x0c\u2028\twater")
    assert parse(fed).is_whole
    assert diff_id(fed.replace("\n", "\r\n")) == diff_id(diff())


@pytest.mark.parametrize(
    ("damage", "is_whole"),
    [
        (lambda text: text.replace("-10,3 +10,3", "-10,4 +10,4"), True),
        (lambda text: text.replace("-10,3 +10,3", "-10,3 +10,4"), False),
        (lambda text: text.replace("+\tone();\n \tmud();\n", ""), False),
        (lambda text: text.replace(" \tmud();\n", " \tmud();\n+\tmore();\n"), False),
        (lambda text: text + "-- \n2.39.5\n", True),
        (lambda text: text.replace("-10,3 +10,3", "-10,4 +10,4") + "-- \n2.39.5\n", True),
        (lambda text: text + "-- \n", True),
        (lambda text: text + "@@ -40,4 +40,4 @@\n \tsand();\n", False),
        (lambda text: text + "@@ -40,4 +40,4 @@\n\tsand();\n-\ta();\n+\tb();\n", False),
        (lambda text: text + "@@ -40,4\n+40,4 @@\n \tsand();\n-\ta();\n+\tb();\n", False),
        (lambda text: text.replace("-10,3 +10,3", "-10,9 +10,9"), False),
    ],
    ids=[
        "context short",
        "an addition short",
        "cut off",
        "longer",
        "signed",
        "short",
        "bare",
        "cut off above the changes",
        "without its first column",
        "a folded hunk header",
        "cut off below a change",
    ],
)
def test_a_diff_whose_changes_are_not_as_many_as_it_says_is_not_whole(damage, is_whole):
    assert parse(damage(diff())).is_whole is is_whole


def test_a_signature_below_a_diff_is_no_removed_line():
    assert diff_id(diff().replace("-10,3 +10,3", "-10,4 +10,4") + "-- \n2.1\n") == diff_id(diff())


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("similarity index 100%\nrename from a.c\nrename to b.c\n", "rename from a.c"),
        ("old mode 100644\nnew mode 100755\n", "old mode 100644"),
        ("index 1..2 100644\nGIT binary patch\nliteral 3\n", "a binary file"),
        ("index 1..2\nBinary files a/a.c and b/a.c differ\n", "a binary file"),
    ],
)
def test_a_diff_without_changed_lines_is_one_and_says_what_it_does(text, note):
    found = parse(f"diff --git a/a.c b/b.c\n{text}")
    assert (found.files, found.notes[0], len(found.digest)) == ({}, note, 64)
    assert parse(text) is None


def test_places_tell_the_same_lines_in_one_place_from_another():
    known = parse(POSTED)
    moved = parse(POSTED.replace("depth = read", "x = y").replace("shore = 3", "z = 4"))
    assert same_places(known.places, known.places)
    assert same_places(known.places, moved.places), "one neighbour changed"
    away = parse(re.sub(r"(?m)^ .*", " \tquite_other();", POSTED))
    assert (known.digest, same_places(known.places, away.places)) == (away.digest, False)


def test_how_many_lines_of_context_a_diff_shows_does_not_move_it():
    narrow = (
        POSTED.replace(" \tunsigned long depth = read();\n", "")
        .replace(" \t\treturn;\n \tfill(depth);\n", "")
        .replace("@@ -20,6 +20,8", "@@ -21,3 +21,5")
    )
    assert parse(narrow).is_whole
    assert same_places(parse(POSTED).places, parse(narrow).places)


def test_a_diff_without_any_context_has_no_place():
    bare = "--- a/arch/x86/kvm/pond.c\n+++ b/arch/x86/kvm/pond.c\n@@ -22,0 +23,2 @@\n"
    bare += "+\tif (depth == shore)\n+\t\treturn;\n"
    assert parse(bare).digest == parse(POSTED).digest
    assert not same_places(parse(POSTED).places, parse(bare).places)
