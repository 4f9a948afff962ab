"""Kernels that tests build: from packs that ``make trees`` keeps, in a store of the checkout's."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from refault.linux.build import Options, build_series
from refault.linux.patches import read
from refault.linux.store import Store
from refault.linux.tree import opened

TREES = Path(".cache/trees").resolve()
MMU = "arch/x86/kvm/mmu/mmu.c"
RELEASES = ("6.1", "6.12")


def packed(release):
    """The pack of a release; skips where ``make trees`` could not make it."""
    place = TREES / f"linux-source-{release}.tar.xz"
    if not place.is_file():
        pytest.skip(f"no linux-source-{release} here: make trees")
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    return place


@pytest.fixture(scope="session")
def store():
    """Compiled units are kept between runs; what is built of them is named by digest."""
    return Store()


@pytest.fixture(scope="session", params=RELEASES)
def release(request):
    packed(request.param)
    return request.param


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """The tree of a release, unpacked."""

    def unpacked(release):
        folder = tmp_path_factory.getbasetemp() / f"tree-{release}"
        if not folder.exists():
            shutil.unpack_archive(packed(release), folder)
        return next(folder.iterdir())

    return unpacked


@pytest.fixture
def patch_of(tmp_path, tree):
    """Patches made by editing a file of the tree here: no line of a kernel stands in a test."""

    def made(release, *edits, file=MMU):
        work = tmp_path / f"edited-{len(list(tmp_path.iterdir()))}"
        (work / file).parent.mkdir(parents=True)
        shutil.copy(tree(release) / file, work / file)
        git(work, "init", "-q")
        git(work, "add", ".")
        git(work, "commit", "-qm", "base")
        for title, edit in edits:
            text = (work / file).read_text()
            assert edit(text) != text, title
            (work / file).write_text(edit(text))
            git(work, "commit", "-qam", title)
        git(work, "format-patch", "-q", "-o", "patches", f"HEAD~{len(edits)}")
        return [path.read_bytes() for path in sorted((work / "patches").iterdir())]

    return made


def git(folder, *words):
    who = ("-c", "user.name=A Developer", "-c", "user.email=a@developer.example")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def build(store):
    """Builds of a release, the last one with all of the patches."""

    def built(release, patches=(), **options):
        series = read(list(patches)) if patches else []
        with opened(packed(release), store.root / "trees") as found:
            return build_series(found, series, store, Options(**options))

    return built


def in_function(name, edit):
    """An edit of one function's body, from its name to the brace that closes it."""

    def edited(text):
        start = text.index(f"{name}(", text.index(f"\nvoid {name}("))
        end = text.index("\n}", start)
        return text[:start] + edit(text[start:end]) + text[end:]

    return edited


def without_invalidation(text):
    """INVLPG counted, and nothing done."""
    return in_function(
        "kvm_mmu_invlpg",
        lambda body: re.sub(r"\n\tkvm_mmu_invalidate_(gva|addr)\([^;]*;", "", body),
    )(text)


def patient_with_writes(text):
    """A table is given up after eight writes instead of three."""
    return re.sub(r"(write_flooding_count\)? >= )3\b", r"\g<1>8", text)


def at_the_end(code):
    """Code appended to the file."""
    return lambda text: f"{text}\n{code}\n"
