"""From a tree, and perhaps patches on it, to programs that the engine ``kernel`` runs.

::

    tree ─► headers of its own ─► units compiled ─► linked ─► Build      the base
      └ pack: the files that were read ─► + patch 1 ─► …                 a prefix each

Only units that read a file a patch touched are compiled anew. A build is named by a digest of all
that was read, so the same is never built twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgpack

from refault.catalogue import Numbers
from refault.errors import BuildFailed, KernelError, PatchRefused
from refault.linux import compiler as cc
from refault.linux import headers
from refault.linux.capabilities import header as capabilities_header
from refault.linux.merging import preimages
from refault.linux.patches import Patch, apply
from refault.linux.store import Build, Store, file_digest
from refault.linux.tree import PREIMAGES, Tree
from refault.linux.units import KERNEL_HALF, PROGRAM_HALF, added_units, runtime_files, tree_units
from refault.trace.format import EventKind

#: Told of each unit that is done: how many are, of how many, and its name.
Progress = Callable[[int, int, str], None]

_INCLUDES = re.compile(r"^\+\s*#\s*include\b", re.MULTILINE)
_OF_TREE = ("tree/", "original/")

_BOUNDS = "tree/kernel/bounds.c"
_RQ_OFFSETS = "tree/kernel/sched/rq-offsets.c"
_SIZES = "runtime/offsets.c"


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """How to build: with AddressSanitizer, and how many units at a time."""

    sanitize: bool = False
    jobs: int = 0

    @property
    def workers(self) -> int:
        """Units compiled side by side."""
        return self.jobs or os.cpu_count() or 1


def build_series(
    tree: Tree,
    patches: Sequence[Patch],
    store: Store,
    options: Options,
    progress: Progress | None = None,
) -> list[Build]:
    """The tree as it is, then with the first patch, the first two, and so on.

    Raises:
        BuildFailed: a unit does not compile; with the compiler's messages.
        PatchRefused: a patch does not apply; with its file and hunk.
    """
    prefixes = [tuple(range(1, count + 1)) for count in range(len(patches) + 1)]
    builds = []
    for made in build_sets(tree, patches, prefixes, store, options, progress):
        if isinstance(made, KernelError):
            raise made
        builds.append(made)
    return builds


def build_sets(
    tree: Tree,
    patches: Sequence[Patch],
    chosen: Sequence[Numbers],
    store: Store,
    options: Options,
    progress: Progress | None = None,
) -> Iterator[Build | KernelError]:
    """The tree with some of the patches, for each of ``chosen``: their numbers, in order.

    What makes no kernel is answered as the error it is, and the next one is built.

    Raises:
        BuildFailed: the tree does not compile as it is.
    """
    told = progress or (lambda done, total, name: None)  # noqa: ARG005
    with store.scratch() as folder:
        work = Path(folder) / "base"
        _lay_out(work, tree.root)
        base = _build(work, tree, (), store, options, told)
        # The last one stays: the next one of a series has one patch more.
        before = _Patched(work, ())
        for count, numbers in enumerate(chosen, 1):
            if not numbers:
                yield base.build
                continue
            if numbers[: len(before.numbers)] != before.numbers:
                before = _Patched(work, ())
            place = Path(folder) / f"patched-{count}"
            copy_read(before.work, place, base.read, tree.root)
            try:
                for number in numbers[len(before.numbers) :]:
                    earlier = patches[: number - 1]
                    apply(patches[number - 1], place / "tree", tree.root, earlier)
                headers.write_headers(place / "tree", place / "generated")
                titles = tuple(patches[number - 1].title for number in numbers)
                yield _build(place, tree, titles, store, options, told).build
            except (BuildFailed, PatchRefused) as error:
                shutil.rmtree(place)
                yield error
                continue
            if before.numbers:
                shutil.rmtree(before.work)
            before = _Patched(place, numbers)
    store.prune()


class _Patched(NamedTuple):
    work: Path
    numbers: Numbers


def pack(
    tree: Tree,
    store: Store,
    into: Path,
    progress: Progress | None = None,
    patches: Sequence[Patch] = (),
) -> int:
    """Write what a build reads of a tree to a small archive, itself a tree; answers its files.

    With ``patches`` that include further files, these too, as they are without the patches; and the
    files that they were made from where the tree has others, so that they can be merged elsewhere.

    Raises:
        BuildFailed: a unit does not compile.
    """
    told = progress or (lambda done, total, name: None)  # noqa: ARG005
    with store.scratch() as folder:
        work = Path(folder) / "base"
        _lay_out(work, tree.root)
        read = _build(work, tree, (), store, Options(), told).read
        if any(_INCLUDES.search(patch.diff) for patch in patches):
            read |= _read_when_patched(work, read, tree, patches, store, told)
        names = {name.partition("/")[2] for name in read if name.startswith(_OF_TREE)}
        names = {name for name in (*names, *headers.READS) if (tree.root / name).is_file()}
        whole = into.with_name(f".{into.name}.{os.getpid()}")
        with tarfile.open(whole, "w:xz") as archive:
            for name in sorted(names):
                entry = archive.gettarinfo(tree.root / name, f"linux-{tree.release}/{name}")
                # The same tree makes the same bytes, whoever packs it.
                entry.mtime = entry.uid = entry.gid = 0
                entry.uname = entry.gname = ""
                entry.mode = 0o644
                with (tree.root / name).open("rb") as stream:
                    archive.addfile(entry, stream)
            for name, content in sorted(
                preimages([each.diff for each in patches], tree.root).items()
            ):
                entry = tarfile.TarInfo(f"linux-{tree.release}/{PREIMAGES}/{name}")
                entry.size, entry.mode = len(content), 0o644
                archive.addfile(entry, io.BytesIO(content))
        whole.replace(into)
        return len(names)


def _read_when_patched(
    base: Path,
    read: frozenset[str],
    tree: Tree,
    patches: Sequence[Patch],
    store: Store,
    told: Progress,
) -> frozenset[str]:
    """What the tree with all the patches reads; nothing if they make no kernel."""
    work = base.with_name("patched")
    copy_read(base, work, read, tree.root)
    try:
        for number, patch in enumerate(patches):
            apply(patch, work / "tree", tree.root, patches[:number])
        headers.write_headers(work / "tree", work / "generated")
        return _build(work, tree, (), store, Options(), told).read
    except (BuildFailed, PatchRefused):
        # Whoever builds it says so, with the place.
        return frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class _Built:
    build: Build
    read: frozenset[str]
    units: dict[str, frozenset[str]]


class Base(NamedTuple):
    """A tree compiled as it is: where, what was read, by each unit, and the seconds of each."""

    work: Path
    read: frozenset[str]
    units: dict[str, frozenset[str]]
    seconds: dict[str, float]


def compile_base(
    folder: Path, tree: Tree, store: Store, options: Options, progress: Progress | None = None
) -> Base:
    """Compile a tree as it is below ``folder``, to see what is read; raises BuildFailed."""
    work = folder / "base"
    _lay_out(work, tree.root)
    built = _build(work, tree, (), store, options, progress or (lambda *_: None))
    found = ((unit, store.seconds_of(key)) for unit, key in built.build.objects.items())
    seconds = {unit: each for unit, each in found if each is not None}
    return Base(work, built.read, built.units, seconds)


def _lay_out(work: Path, root: Path) -> None:
    work.mkdir()
    (work / "tree").symlink_to(root.resolve())
    (work / "original").symlink_to(root.resolve())
    _write_generated(work)


def _write_generated(work: Path) -> None:
    shutil.copytree(runtime_files()[0].parent, work / "runtime", dirs_exist_ok=True)
    headers.write_headers(work / "tree", work / "generated")
    _write_ours(work)


def _write_ours(work: Path) -> None:
    generated = work / "generated"
    (generated / "capabilities.h").write_text(capabilities_header(work / "tree"))
    kinds = "".join(
        f"\t{kind.name} = {int(kind)},\n" for kind in EventKind if kind.name[:3] == "OP_"
    )
    (generated / "operations.h").write_text(f"enum {{\n{kinds}}};\n")


def copy_read(before: Path, work: Path, read: frozenset[str], root: Path) -> None:
    """A folder of real files, to be patched: as patched so far, or what was read of the tree."""
    tree = before / "tree"
    if tree.is_symlink():
        for name in sorted(read | {f"tree/{name}" for name in headers.READS}):
            if name.startswith("tree/") and (before / name).is_file():
                place = work / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(before / name, place)
    else:
        shutil.copytree(tree, work / "tree")
    # What a patch includes besides is taken from where it always was.
    (work / "original").symlink_to(root.resolve())
    _write_generated(work)


def _build(
    work: Path,
    tree: Tree,
    patches: tuple[str, ...],
    store: Store,
    options: Options,
    told: Progress,
) -> _Built:
    compiler = cc.find_compiler()
    out = work / "out"
    out.mkdir(exist_ok=True)
    read = _compute_constants(compiler, work, out)
    units = [
        *(f"tree/{name}" for name in tree_units(work / "tree")),
        *(f"tree/{name}" for name in added_units(work / "tree", work / "original")),
        *(f"runtime/{name}" for name in (*KERNEL_HALF, *PROGRAM_HALF)),
    ]
    digests = _Digests(work)
    objects: dict[str, str] = {}
    read_by: dict[str, frozenset[str]] = {}
    total = len(units) + 1

    def compiled(unit: str) -> tuple[str, str, list[str]]:
        return (unit, *_compiled(compiler, work, unit, out, store, options, digests))

    with ThreadPoolExecutor(options.workers) as pool:
        for done, (unit, digest, files) in enumerate(pool.map(compiled, units), 1):
            objects[unit], read_by[unit] = digest, frozenset(files)
            read.update(files)
            told(done, total, unit.removeprefix("tree/"))
    digest = _digest(compiler, options, read, digests)
    build = store.get(digest)
    if build is None:
        build = _linked(compiler, work, tree, patches, store, options, objects, digest, len(read))
    told(total, total, "linked")
    # The same program may have been built of another source, with other patches.
    build = dataclasses.replace(build, source=str(tree.source), patches=patches)
    return _Built(build, frozenset(read), read_by)


def _compiled(
    compiler: cc.Compiler,
    work: Path,
    unit: str,
    out: Path,
    store: Store,
    options: Options,
    digests: _Digests,
) -> tuple[str, list[str]]:
    words = cc.flags_of(compiler, work, unit, sanitize=options.sanitize)
    body = [compiler.version, words, unit, cc.FLAGS_VERSION]
    recipe = hashlib.sha256(msgpack.packb(body)).hexdigest()
    if known := store.recall(recipe, digests):
        return known
    place = out / (unit.replace("/", "_").removesuffix(".c") + ".o")
    begun = time.monotonic()
    files = cc.compile_unit(compiler, work, unit, place, sanitize=options.sanitize)
    digest = store.keep(recipe, {name: digests(name) for name in files}, place)
    store.note_seconds(digest, time.monotonic() - begun)
    return digest, files


def _linked(
    compiler: cc.Compiler,
    work: Path,
    tree: Tree,
    patches: tuple[str, ...],
    store: Store,
    options: Options,
    objects: dict[str, str],
    digest: str,
    files: int,
) -> Build:
    program = work / "out" / "kernel"
    paths = [work / "out" / f"linked-{place}.o" for place in range(len(objects))]
    for path, object_digest in zip(paths, objects.values(), strict=True):
        shutil.copyfile(store.object_path(object_digest), path)
    missing = cc.link(compiler, work, paths, program, sanitize=options.sanitize)
    build = Build(
        digest=digest,
        release=tree.release,
        compiler=compiler.version,
        source=str(tree.source),
        patches=patches,
        objects=objects,
        missing=tuple(missing),
        is_sanitized=options.sanitize,
        files=files,
    )
    store.take(build, program)
    return build


def _compute_constants(compiler: cc.Compiler, work: Path, out: Path) -> set[str]:
    """What the tree's own files compute with the compiler's help; answers the files read."""
    generated = work / "generated/include/generated"
    read: set[str] = set()
    units = ((_BOUNDS, "bounds.h"), (_SIZES, "asm-offsets.h"), (_RQ_OFFSETS, "rq-offsets.h"))
    for _, name in units:
        (generated / name).write_text("")
    for unit, name in units:
        if not (work / unit).is_file():
            continue
        place = out / f"{Path(unit).stem}.s"
        read.update(cc.compile_unit(compiler, work, unit, place, to_assembly=True))
        (generated / name).write_text(headers.constants(place.read_text()))
    return read


class _Digests:
    """sha256 of files below a folder, each computed once."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._known: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        if name not in self._known:
            path = self._work / name
            self._known[name] = file_digest(path) if path.is_file() else ""
        return self._known[name]


def _digest(compiler: cc.Compiler, options: Options, read: set[str], digests: _Digests) -> str:
    body = [
        compiler.version,
        options.sanitize,
        cc.FLAGS_VERSION,
        [[name, digests(name)] for name in sorted(read)],
    ]
    return hashlib.sha256(msgpack.packb(body)).hexdigest()
