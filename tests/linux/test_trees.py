"""What counts as a tree, and what is derived from one without a compiler."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from refault.errors import InvalidParameter, NotATree, UnknownKernel
from refault.linux import capabilities, headers, settings
from refault.linux.store import Build, Store, check_name, prefix_name
from refault.linux.tree import NEEDED, opened

MAKEFILE = "VERSION = {}\nPATCHLEVEL = {}\nSUBLEVEL = 3\nEXTRAVERSION =\n"


def make_tree(folder, version=6, patchlevel=1, files=("mmu/mmu.c", "mmu/spte.c")):
    for name in files:
        place = folder / "arch/x86/kvm" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("")
    for name in NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (folder / "Makefile").write_text(MAKEFILE.format(version, patchlevel))
    return folder


def test_a_directory_is_a_tree(tmp_path):
    with opened(make_tree(tmp_path / "linux"), tmp_path) as tree:
        assert (tree.root, tree.release) == (tmp_path / "linux", "6.1.3")


def test_a_tarball_is_unpacked_and_removed(tmp_path):
    make_tree(tmp_path / "linux-6.1")
    archive = tmp_path / "linux.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(tmp_path / "linux-6.1", "linux-6.1")
    with opened(archive, tmp_path / "scratch") as tree:
        assert tree.release == "6.1.3"
        root = tree.root
    assert not root.exists()


def test_what_an_archive_would_write_elsewhere_is_refused(tmp_path):
    archive = tmp_path / "evil.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        for name in ("linux/Makefile", "linux/arch/x86/../../../../outside"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(NotATree, match=r"evil\.tar\.xz"), opened(archive, tmp_path / "scratch"):
        pass
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("version", "patchlevel", "file"), [(2, 6, "mmu.c"), (4, 19, "mmu.c"), (5, 8, "mmu/mmu.c")]
)
def test_an_older_kernel_is_refused_with_the_reason(tmp_path, version, patchlevel, file):
    tree = make_tree(tmp_path / "linux", version, patchlevel, [file])
    reason = rf"Linux {version}.{patchlevel}.3 .* came with 5\.10"
    with pytest.raises(NotATree, match=reason), opened(tree, tmp_path):
        pass


def test_what_is_no_tree_says_what_one_is(tmp_path):
    with pytest.raises(NotATree, match="top directory"), opened(tmp_path, tmp_path):
        pass
    with pytest.raises(NotATree, match="no such"), opened(tmp_path / "absent", tmp_path):
        pass
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with (
        pytest.raises(NotATree, match="neither a directory, nor a tarball"),
        opened(text, tmp_path),
    ):
        pass
    damaged = tmp_path / "half.tar.xz"
    damaged.write_bytes(b"\xfd7zXZ\x00half")
    with pytest.raises(NotATree, match="cannot be unpacked"), opened(damaged, tmp_path):
        pass


def test_what_x86_selects_is_set_unless_it_needs_what_is_not_there(tmp_path):
    (tmp_path / "arch/x86").mkdir(parents=True)
    (tmp_path / "arch/x86/Kconfig").write_text(
        "config X86\n\tdef_bool y\n\tselect PLAIN\n\tselect ON_64\tif X86_64\n"
        "\tselect WITH_NUMA if NUMA\n\tselect HAVE_STATIC_CALL\n"
        "config PLAIN\n\tbool\n\tselect NESTED\n"
    )
    found = settings.settings(tmp_path)
    assert {"PLAIN", "ON_64", "NESTED"} <= set(found)
    assert not {"WITH_NUMA", "HAVE_STATIC_CALL", "SMP"} & set(found)
    assert "#define CONFIG_NESTED 1\n" in settings.autoconf(tmp_path)


def test_constants_are_read_from_what_the_compiler_made():
    assembly = '.ascii "->NR_PAGEFLAGS $23 __NR_PAGEFLAGS"\n\t.ascii "->SPINLOCK_SIZE $0 x"\n'
    assert "#define NR_PAGEFLAGS 23\n#define SPINLOCK_SIZE 0\n" in headers.constants(assembly)


def test_capabilities_are_what_the_tree_shows(tmp_path):
    (tmp_path / "arch/x86/include/asm").mkdir(parents=True)
    (tmp_path / "arch/x86/include/asm/kvm_host.h").write_text("struct kvm_mmu_root_info root;\n")
    found = capabilities.capabilities(tmp_path)
    assert found["ROOT_INFO"]
    assert not found["GOVERNED_FEATURES"]
    assert "#define RF_HAS_ROOT_INFO 1\n" in capabilities.header(tmp_path)


def test_vendor_operations_are_read_from_their_struct_where_no_list_is(tmp_path):
    """One that the tree asks for is optional; what a comment says of it asks nothing."""
    tree = make_tree(tmp_path / "linux", 5, 10)
    (tree / "arch/x86/include/asm").mkdir(parents=True)
    (tree / "arch/x86/include/asm/kvm_host.h").write_text(
        "struct kvm_x86_ops {\n\tint (*there)(void);\n\t/* (*gone)(void) */\n"
        "\tunsigned int vm_size;\n\tvoid (*asked)(struct kvm_vcpu *vcpu,\n\t\tint value);\n};\n"
        "struct kvm_x86_nested_ops {\n\tint (*nested)(void);\n};\n"
    )
    (tree / "arch/x86/kvm/x86.c").write_text(
        "\t/* as kvm_x86_ops.there was */\n\tkvm_x86_ops.there();\n"
        "\tif (kvm_x86_ops.asked)\n\t\tkvm_x86_ops.asked(vcpu, 1);\n"
    )
    headers.write_headers(tree, tmp_path / "generated")
    made = tmp_path / "generated/arch/x86/include/generated/asm/kvm-x86-ops.h"
    assert made.read_text() == "KVM_X86_OP(there)\nKVM_X86_OP_OPTIONAL(asked)\n"


def test_a_tree_that_has_a_list_of_vendor_operations_keeps_it(tmp_path):
    tree = make_tree(tmp_path / "linux")
    (tree / "arch/x86/include/asm").mkdir(parents=True)
    (tree / "arch/x86/include/asm/kvm-x86-ops.h").write_text("KVM_X86_OP(own)\n")
    headers.write_headers(tree, tmp_path / "generated")
    assert not list((tmp_path / "generated").rglob("kvm-x86-ops.h"))


@pytest.mark.parametrize("name", ["", "Mine", "a b", "../x", "a+1", "x" * 41])
def test_a_name_that_no_build_can_have_is_refused(name):
    with pytest.raises(InvalidParameter, match="name"):
        check_name(name)


def test_prefixes_are_named_after_their_patches():
    assert [prefix_name("mine", count) for count in range(4)] == [
        "mine",
        "mine+1",
        "mine+1..2",
        "mine+1..3",
    ]


def test_an_unknown_kernel_says_how_to_build_one(tmp_path):
    with pytest.raises(UnknownKernel, match="refault kernel build"):
        Store(tmp_path).named("mine")


def test_a_damaged_store_is_as_good_as_an_empty_one(tmp_path):
    store = Store(tmp_path)
    for name, text in (
        ("names/mine.json", "{"),
        (
            "names/other.json",
            '{"digest": "ab", "source": "linux", "patches": []}',
        ),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "builds/ab").mkdir(parents=True)
    (tmp_path / "builds/ab/build.json").write_text('{"digest": "ab"}')
    assert store.names() == {"other": "ab"}
    for name in ("mine", "other"):
        with pytest.raises(UnknownKernel, match="refault kernel build"):
            store.named(name)


def test_what_a_killed_build_left_is_removed_a_day_later(tmp_path):
    left, young = tmp_path / "scratch/build-old", tmp_path / "scratch/build-young"
    for folder in (left, young):
        folder.mkdir(parents=True)
    os.utime(left, (0, 0))
    with Store(tmp_path).scratch() as folder:
        assert Path(folder).is_dir()
    assert (left.exists(), young.exists()) == (False, True)


def test_a_name_tells_what_was_asked_for_and_forgets_an_earlier_series(tmp_path):
    """Two series may come to one program; each name shows its own patches."""
    store = Store(tmp_path)

    def made(digest, *patches):
        program = store.program(digest)
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("")
        build = Build(digest, "6.1.3", "gcc", "linux", patches, {}, (), is_sanitized=False, files=1)
        store.put(build)
        return build

    store.set_names("first", [made("aa"), made("bb", "one"), made("cc", "one", "two")])
    assert list(store.names()) == ["first", "first+1", "first+1..2"]
    store.set_names("second", [made("aa"), made("bb", "another")])
    assert store.named("first+1").patches == ("one",)
    assert store.named("second+1").patches == ("another",)
    store.set_names("first", [made("aa"), made("dd", "three")])
    assert list(store.names()) == ["first", "first+1", "second", "second+1"]
    assert [store.program(digest).exists() for digest in ("bb", "cc", "dd")] == [True, False, True]
    assert store.remove("second") == ["second", "second+1"]
    assert [store.program(digest).exists() for digest in ("aa", "bb")] == [True, False]
