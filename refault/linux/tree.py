"""A Linux tree as the user has it: a directory, a tarball, or Debian's package of one.

Only a part of it is ever read (:data:`PARTS`); of an archive only that is unpacked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from refault.errors import NotATree
from refault.linux.headers import release_of

#: What of a tree may be read: everything the closure of the compiled files lies in.
PARTS = ("Makefile", "arch/x86", "include", "virt", "lib", "kernel")
#: Where a pack has, by git's names, files that patches were made from and the tree has otherwise.
PREIMAGES = "preimages"
#: The one file without which nothing can be done.
MMU = "arch/x86/kvm/mmu/mmu.c"
#: What a tree that can be driven here has besides: older ones have one file.
SPTE = "arch/x86/kvm/mmu/spte.c"
NEEDED = ("arch/x86/kvm/x86.c", "virt/kvm/kvm_main.c", "lib/rbtree.c", "include/linux/kvm_host.h")
"""Without these a program would be linked, and could not be started."""

_ARCHIVES = (".tar", ".tar.xz", ".tar.gz", ".tar.bz2", ".tgz")


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """A tree on disk; ``root`` is where its Makefile lies, ``source`` what the user named."""

    root: Path
    source: Path
    release: str


@contextlib.contextmanager
def opened(source: Path, scratch: Path) -> Iterator[Tree]:
    """The tree at ``source``, unpacked below ``scratch`` for as long as it is used.

    Raises:
        NotATree: there is no x86 KVM in it, or only one that is too old.
    """
    if source.is_dir():
        archive = _archive_in(source)
        if archive is None:
            yield checked(source, source)
            return
        source = archive
    if not source.is_file():
        raise NotATree(f"{source}: there is no such directory or file")
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="tree-") as folder:
        root = _unpacked(source, Path(folder))
        yield checked(root, source)


def _archive_in(folder: Path) -> Path | None:
    """The archive in a directory that is no tree: what ``linux-source-6.1`` installs."""
    if (folder / "Makefile").is_file():
        return None
    found = sorted(folder.glob("linux-source-*.tar.xz"))
    return found[0] if len(found) == 1 else None


def checked(root: Path, source: Path) -> Tree:
    """The tree whose top directory that is, called ``source`` in errors.

    Raises:
        NotATree: there is no x86 KVM in it, or only one that is too old.
    """
    if not (root / "Makefile").is_file() or not (root / "arch/x86/kvm").is_dir():
        raise NotATree(
            f"{source}: no Linux tree (it has no Makefile, or no arch/x86/kvm); name its top "
            "directory, a tarball of it, or a linux-source package"
        )
    release = release_of(root)
    if not (root / MMU).is_file() or not (root / SPTE).is_file():
        raise NotATree(
            f"{source}: Linux {release} has its shadow MMU in one file; {SPTE} came with 5.10, "
            "and how an older MMU is to be driven is not known here. The kernels of 2010 are the "
            "catalogue's: refault patches"
        )
    for name in NEEDED:
        if not (root / name).is_file():
            raise NotATree(f"{source}: the tree is not whole: it has no {name}")
    return Tree(root, source, release)


def _unpacked(source: Path, folder: Path) -> Path:
    if source.name.endswith(".deb"):
        source = _data_of_package(source, folder)
    if not source.name.endswith(_ARCHIVES):
        raise NotATree(f"{source}: neither a directory, nor a tarball ({', '.join(_ARCHIVES)})")
    into = folder / "tree"
    try:
        with tarfile.open(source) as archive:
            top = ""
            for member in archive:
                parts = member.name.removeprefix("./").split("/", 1)
                top = top or parts[0]
                if parts[0] != top or len(parts) == 1:
                    continue
                if _is_wanted(parts[1]) and (member.isfile() or member.issym()):
                    archive.extract(member, into, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise NotATree(f"{source}: cannot be unpacked: {error}") from error
    return into / top


def _is_wanted(name: str) -> bool:
    return any(name == part or name.startswith(f"{part}/") for part in (*PARTS, PREIMAGES))


def _data_of_package(package: Path, folder: Path) -> Path:
    """The tarball inside a Debian package of the source."""
    if shutil.which("dpkg-deb") is None:
        raise NotATree(f"{package}: dpkg-deb is not there to unpack it; unpack it yourself")
    done = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=False
    )
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip()
        raise NotATree(f"{package}: no Debian package: {text}")
    inner = folder / "package.tar"
    inner.write_bytes(done.stdout)
    with tarfile.open(inner) as archive:
        for member in archive:
            if re.search(r"usr/src/linux-source-[^/]*\.tar\.xz$", member.name):
                archive.extract(member, folder, filter="data")
                inner.unlink()
                return folder / member.name.removeprefix("./")
    raise NotATree(f"{package}: a package without /usr/src/linux-source-*.tar.xz")
