"""Patches whose lines are others in the tree: merged as ``git am -3`` does, or refused by hunk."""

import shutil

import pytest

from refault.errors import PatchRefused
from refault.linux import merging
from refault.linux.patches import apply, read
from refault.linux.tree import PREIMAGES
from tests.fixtures.trees import MMU, git

LINES = [f"int word_{number};" for number in range(60)]
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git here")


def text(**changed):
    words = {int(name[1:]): line for name, line in changed.items()}
    return "".join(words.get(number, line) + "\n" for number, line in enumerate(LINES))


@pytest.fixture
def checkout(tmp_path):
    """A git checkout whose head has other lines than the one that a patch was made on."""
    root = tmp_path / "linux"
    place = root / MMU
    place.parent.mkdir(parents=True)
    git(tmp_path, "init", "-q", "linux")

    def made(ours, *theirs):
        place.write_text(text())
        git(root, "add", ".")
        git(root, "commit", "-qm", "base")
        for changes in theirs:
            place.write_text(text(**changes))
            git(root, "commit", "-qam", f"KVM: change {', '.join(changes)}")
        git(root, "format-patch", "-q", "-o", tmp_path / "mails", f"HEAD~{len(theirs)}")
        git(root, "reset", "-q", "--hard", f"HEAD~{len(theirs)}")
        place.write_text(text(**ours))
        git(root, "commit", "-qam", "ours")
        return root, read([path.read_bytes() for path in sorted((tmp_path / "mails").iterdir())])

    return made


def applied(patches, root, tmp_path):
    folder = tmp_path / "work" / "tree"
    folder.mkdir(parents=True)
    for number, patch in enumerate(patches):
        apply(patch, folder, root, patches[:number])
    return (folder / MMU).read_text()


def test_a_patch_is_merged_where_the_lines_around_it_are_others(checkout, tmp_path):
    root, patches = checkout({"_28": "int ours;"}, {"_30": "int theirs;"}, {"_30": "int last;"})
    assert applied(patches, root, tmp_path) == text(_28="int ours;", _30="int last;")
    assert (root / MMU).read_text() == text(_28="int ours;")
    assert not (tmp_path / "work" / "merging").exists()


def test_a_conflict_is_named_by_file_and_hunk(checkout, tmp_path):
    root, patches = checkout({"_30": "int ours;"}, {"_5": "int early;", "_30": "int theirs;"})
    with pytest.raises(PatchRefused) as refused:
        applied(patches, root, tmp_path)
    assert MMU in str(refused.value)
    assert "@@ -28,7 +28,7 @@" in str(refused.value)
    assert "@@ -3,7 +3,7 @@" not in str(refused.value)
    # Half of a patch is none.
    assert (tmp_path / "work/tree" / MMU).read_text() == text(_30="int ours;")


def test_without_the_file_it_was_made_from_it_says_what_would_help(checkout, tmp_path):
    root, patches = checkout({"_28": "int ours;"}, {"_30": "int theirs;"})
    shutil.rmtree(root / ".git")
    with pytest.raises(PatchRefused, match="name a git checkout that has the files"):
        applied(patches, root, tmp_path)


def test_a_pack_takes_along_what_its_patches_were_made_from(checkout, tmp_path):
    root, patches = checkout({"_28": "int ours;"}, {"_30": "int theirs;"})
    found = merging.preimages([patch.diff for patch in patches], root)
    assert list(found.values()) == [text().encode()]
    shutil.rmtree(root / ".git")
    (root / PREIMAGES).mkdir()
    for name, content in found.items():
        (root / PREIMAGES / name).write_bytes(content)
    assert applied(patches, root, tmp_path) == text(_28="int ours;", _30="int theirs;")


def test_what_a_patch_was_made_from_may_be_what_another_made(checkout, tmp_path):
    """Nobody has what the second one was made from: the first one makes it."""
    root, patches = checkout({"_28": "int ours;"}, {"_30": "int theirs;"}, {"_30": "int last;"})
    found = merging.preimages([patch.diff for patch in patches[:1]], root)
    shutil.rmtree(root / ".git")
    (root / PREIMAGES).mkdir()
    for name, content in found.items():
        (root / PREIMAGES / name).write_bytes(content)
    assert applied(patches, root, tmp_path) == text(_28="int ours;", _30="int last;")


def test_a_file_that_is_not_what_its_name_says_is_not_believed(checkout, tmp_path):
    root, patches = checkout({"_28": "int ours;"}, {"_30": "int theirs;"})
    (name,) = merging.preimages([patch.diff for patch in patches], root)
    shutil.rmtree(root / ".git")
    (root / PREIMAGES).mkdir()
    (root / PREIMAGES / name).write_text("other")
    with pytest.raises(PatchRefused):
        applied(patches, root, tmp_path)


@pytest.mark.parametrize("outside", ["../secret", "/secret"])
def test_a_pack_takes_nothing_along_from_outside_the_tree(checkout, tmp_path, outside):
    root, [patch] = checkout({"_28": "int ours;"}, {"_30": "int theirs;"})
    (tmp_path / "secret").write_text(text())
    name = outside if outside[0] == "." else str(tmp_path / "secret")
    diff = patch.diff.replace(MMU, name)
    assert name in diff
    assert merging.sections(diff) == []
    assert merging.preimages([diff], root) == {}
