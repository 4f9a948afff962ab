"""From a tree and patches to programs: what is compiled again, and what is said when it is not."""

import os
import shutil
import tarfile
import time

import pytest

from refault.errors import BuildFailed, InvalidParameter, PatchRefused
from refault.linux.build import pack
from refault.linux.patches import read
from refault.linux.store import Build, Store
from refault.linux.tree import opened
from tests.fixtures.trees import at_the_end, patient_with_writes, without_invalidation


def test_the_same_is_never_built_twice(build, store, release):
    (first,) = build(release)
    stamp = store.program(first.digest).stat().st_mtime_ns
    (again,) = build(release, jobs=1)
    assert again.digest == first.digest
    assert store.program(first.digest).stat().st_mtime_ns == stamp


def test_prefixes_compile_what_a_patch_touches_and_nothing_else(build, patch_of, release):
    patches = patch_of(
        release,
        ("Be patient", patient_with_writes),
        ("Do nothing on INVLPG", without_invalidation),
    )
    base, one, two = build(release, patches)
    changed = [name for name in base.objects if base.objects[name] != one.objects[name]]
    assert changed == ["tree/arch/x86/kvm/mmu/mmu.c"]
    assert one.objects != two.objects
    assert (base.patches, two.patches) == ((), ("Be patient", "Do nothing on INVLPG"))


def test_a_patch_on_what_is_not_compiled_here_provably_changes_nothing(build, patch_of):
    """A comment at the end moves no line that stands in an object."""
    patches = patch_of("6.12", ("Say more", at_the_end("/* more */")))
    base, patched = build("6.12", patches)
    assert patched.objects == base.objects
    assert patched.digest != base.digest


def test_a_patch_that_does_not_apply_names_file_and_hunk(build, patch_of):
    (patch,) = patch_of("6.12", ("Be patient", patient_with_writes))
    broken = patch.replace(b"write_flooding_count", b"write_flooded_count")
    with pytest.raises(PatchRefused, match=r"Be patient.*arch/x86/kvm/mmu/mmu\.c:\d+"):
        build("6.12", [broken])


def test_a_patch_on_files_that_are_not_read_is_told_to_change_nothing(build):
    """A pack does not even have the file: that is no reason to refuse the series."""
    patch = (
        b"From: A <a@developer.example>\nSubject: [PATCH] Mend nested SVM\n\n---\n"
        b"--- a/arch/x86/kvm/svm/nested.c\n+++ b/arch/x86/kvm/svm/nested.c\n"
        b"@@ -1,2 +1,3 @@\n here\n+one more line\n there\n"
    )
    base, patched = build("6.12", [patch])
    assert (patched.digest, patched.objects) == (base.digest, base.objects)
    assert (base.patches, patched.patches) == ((), ("Mend nested SVM",))


def test_a_file_that_a_patch_adds_is_there_for_the_patches_after_it(build, patch_of):
    include = '#include "mmu/refault_test.h"'
    (uses,) = patch_of("6.12", ("Use it", at_the_end(f"{include}\nint added = ADDED;")))
    adds = (
        b"From: A <a@developer.example>\nSubject: [PATCH 1/2] Add a header\n\n---\n"
        b"diff --git a/arch/x86/kvm/mmu/refault_test.h b/arch/x86/kvm/mmu/refault_test.h\n"
        b"new file mode 100644\n--- /dev/null\n+++ b/arch/x86/kvm/mmu/refault_test.h\n"
        b"@@ -0,0 +1 @@\n+#define ADDED 1\n"
    )
    base, added, used = build("6.12", [adds, uses.replace(b"[PATCH]", b"[PATCH 2/2]")])
    assert added.objects == base.objects
    assert used.objects != base.objects


def test_a_file_of_code_that_a_patch_adds_is_compiled_and_linked(build, patch_of):
    use = "int refault_added(void);\nint refault_used(void) { return refault_added(); }"
    (uses,) = patch_of("6.12", ("Use it", at_the_end(use)))
    adds = (
        b"From: A <a@developer.example>\nSubject: [PATCH 1/2] Add code\n\n---\n"
        b"diff --git a/arch/x86/kvm/mmu/added.c b/arch/x86/kvm/mmu/added.c\n"
        b"new file mode 100644\n--- /dev/null\n+++ b/arch/x86/kvm/mmu/added.c\n"
        b"@@ -0,0 +1,3 @@\n+int refault_added(void);\n+int refault_added(void)\n+{ return 7; }\n"
    )
    base, added, used = build("6.12", [adds, uses.replace(b"[PATCH]", b"[PATCH 2/2]")])
    assert set(added.objects) - set(base.objects) == {"tree/arch/x86/kvm/mmu/added.c"}
    assert "refault_added" not in used.missing


def test_a_patch_outside_the_tree_is_refused(build):
    patch = (
        b"Subject: [PATCH] Out\n\n--- a/../../outside.c\n+++ b/../../outside.c\n"
        b"@@ -0,0 +1 @@\n+int x;\n"
    )
    with pytest.raises(PatchRefused, match="outside the tree"):
        build("6.12", [patch])


def test_a_compiler_error_has_its_line_in_the_users_file(build, patch_of, tree):
    lines = (tree("6.12") / "arch/x86/kvm/mmu/mmu.c").read_text().count("\n")
    patches = patch_of("6.12", ("Break it", at_the_end("int broken(void) { return nothing; }")))
    with pytest.raises(BuildFailed) as failed:
        build("6.12", patches)
    assert f"arch/x86/kvm/mmu/mmu.c:{lines + 2}:" in str(failed.value)
    assert "nothing" in str(failed.value)
    assert "tree/" not in str(failed.value)


def test_what_nobody_defines_is_listed(build, release):
    (base,) = build(release)
    assert "kvm_set_irq" in base.missing
    assert not {"kvm_mmu_load", "memcpy"} & set(base.missing)


def test_what_was_used_longest_ago_is_forgotten_first(tmp_path):
    store = Store(tmp_path)
    kept = []
    for number, age in enumerate((300, 200, 100)):
        path = tmp_path / f"unit-{number}.o"
        path.write_bytes(bytes([number]) * 1000)
        place = store.object_path(store.keep(f"{number:064x}", {}, path))
        os.utime(place, (time.time() - age,) * 2)
        kept.append(place)
    assert store.recall(f"{0:064x}", str) is not None, "used again just now"
    assert store.prune(2500) == 2000
    assert [place.exists() for place in kept] == [True, False, True]
    assert store.recall(f"{1:064x}", str) is None


def test_a_program_that_no_name_is_left_for_is_forgotten_whole(tmp_path):
    store = Store(tmp_path)
    program = tmp_path / "program"
    program.write_bytes(bytes(1000))
    for number in range(3):
        build = Build(f"{number:064x}", "6.12", "gcc", "", (), {}, (), False, 1)
        store.take(build, program)
        os.utime(store.program(build.digest).with_name("build.json"), (number, number))
    store.set_names("mine", [build])
    assert store.get(f"{0:064x}"), "used again just now"
    assert store.prune(1000) == 1000
    left = {path.name for path in (tmp_path / "builds").iterdir()}
    assert left == {f"{0:064x}", f"{2:064x}"}


def test_a_bound_that_is_no_number_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("REFAULT_KERNELS_BYTES", "4G")
    with pytest.raises(InvalidParameter, match="REFAULT_KERNELS_BYTES"):
        Store(tmp_path).prune()


def test_a_pack_has_what_only_a_patch_includes(store, tree, patch_of, tmp_path):
    own = shutil.copytree(tree("6.12"), tmp_path / "own")
    (own / "arch/x86/kvm/mmu/unread.h").write_text("#define UNREAD 1\n")
    include = '#include "mmu/unread.h"\nint refault_unread = UNREAD;'
    patches = read(patch_of("6.12", ("Include it", at_the_end(include))))

    def packed_with(series):
        with opened(own, tmp_path) as found:
            pack(found, store, tmp_path / "packed.tar.xz", None, series)
        with tarfile.open(tmp_path / "packed.tar.xz") as archive:
            return {member.name.partition("/")[2]: member.size for member in archive}

    bare, whole = packed_with(()), packed_with(patches)
    assert whole.keys() - bare.keys() == {"arch/x86/kvm/mmu/unread.h"}
    # Without the patch itself.
    assert {name: size for name, size in whole.items() if name in bare} == bare
