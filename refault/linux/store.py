"""Where builds are kept: programs by the digest of all they were built of, and names for them.

::

    $REFAULT_KERNELS, or ~/.cache/refault/kernels
    ├── objects/ab/…     compiled units, each by the digest of its bytes
    ├── recipes/ab/….json  what a unit was compiled of, and which object that gave
    ├── builds/DIGEST/   the program, and build.json
    └── names/NAME.json  what a user calls a build
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from refault.catalogue import kernel_label
from refault.errors import InvalidParameter, UnknownKernel

#: No build takes longer.
_SCRATCH_SECONDS = 24 * 3600
_BYTES_MAX = 4 << 30
_OWN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


@dataclasses.dataclass(frozen=True, slots=True)
class Build:
    """One program built of a tree.

    ``digest`` names all that was read: the tree's files, ours, the compiler and its flags.
    ``objects`` are the digests of the compiled units by name: equal ones prove that a patch changes
    nothing here. ``missing`` are the functions and variables that nobody defines.
    """

    digest: str
    release: str
    compiler: str
    source: str
    patches: tuple[str, ...]
    objects: Mapping[str, str]
    missing: tuple[str, ...]
    is_sanitized: bool
    files: int
    #: Of its own check: accesses as witnessed, or why it was refused. Not part of its digest.
    check: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            **dataclasses.asdict(self),
            "patches": list(self.patches),
            "objects": dict(self.objects),
            "missing": list(self.missing),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Build:
        """The build ``to_dict()`` made."""
        lists = {name: tuple(body[name]) for name in ("patches", "missing")}
        return cls(**{**body, **lists})


class Store:
    """The builds of one user."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    # --- builds and their names --------------------------------------------------------------

    def program(self, digest: str) -> Path:
        """Where the program of a build is, or will be."""
        return self.root / "builds" / digest / "kernel"

    def get(self, digest: str) -> Build | None:
        """The build of that digest, if it is there whole."""
        try:
            body = json.loads(self._about(digest).read_text())
            build = Build.from_dict(body)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not self.program(digest).is_file():
            return None
        with contextlib.suppress(OSError):
            os.utime(self._about(digest))
        return build

    def put(self, build: Build) -> None:
        """Write down a build whose program is there."""
        text = json.dumps(build.to_dict(), indent=1, sort_keys=True)
        write_whole(self._about(build.digest), text)

    def _about(self, digest: str) -> Path:
        """What is known of a build; as old as its last use."""
        return self.root / "builds" / digest / "build.json"

    def take(self, build: Build, program: Path) -> None:
        """Take in a build whose program was built elsewhere."""
        place = self.program(build.digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        whole = place.with_suffix(f".{os.getpid()}")
        shutil.copyfile(program, whole)
        whole.chmod(0o755)
        whole.replace(place)
        self.put(build)

    def set_names(self, name: str, builds: Sequence[Build]) -> list[str]:
        """Call a kernel and the prefixes of a series on it so; answers their names.

        Prefixes of an earlier series of that name are forgotten. What was asked for stands with
        the name: another series may come to the same program.
        """
        names = [prefix_name(name, count) for count in range(len(builds))]
        for each, build in zip(names, builds, strict=True):
            body = {"digest": build.digest, "source": build.source, "patches": build.patches}
            write_whole(self.root / "names" / f"{each}.json", json.dumps(body))
        self._forget([known for known in self._series(name) if known not in names])
        return names

    def _series(self, name: str) -> list[str]:
        return [known for known in self.names() if known == name or known.startswith(f"{name}+")]

    def _forget(self, gone: Sequence[str]) -> None:
        """Forget names, and the programs that no name is left for."""
        digests = {name: digest for name, digest in self.names().items() if name in gone}
        for known in gone:
            (self.root / "names" / f"{known}.json").unlink(missing_ok=True)
        for digest in set(digests.values()) - set(self.names().values()):
            shutil.rmtree(self.root / "builds" / digest, ignore_errors=True)

    def names(self) -> dict[str, str]:
        """The digest of each name, in the order of names."""
        paths = sorted((self.root / "names").glob("*.json"), key=lambda path: path.stem)
        found = {path.stem: self._asked(path.stem) for path in paths}
        return {name: str(body["digest"]) for name, body in found.items() if body}

    def _asked(self, name: str) -> dict[str, Any]:
        """What stands with a name; nothing if that cannot be read."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            body = json.loads((self.root / "names" / f"{name}.json").read_text())
            return {
                "digest": str(body["digest"]),
                "source": str(body["source"]),
                "patches": tuple(map(str, body["patches"])),
            }
        return {}

    def named(self, name: str) -> Build:
        """The build of that name, of a digest or of its beginning (8 digits at least).

        Raises:
            UnknownKernel: there is none here.
        """
        names = self.names()
        digest = names.get(name)
        if digest is None and re.fullmatch("[0-9a-f]{8,64}", name):
            found = [path.name for path in (self.root / "builds").glob(f"{name}*")]
            digest = found[0] if len(found) == 1 else None
        build = self.get(digest) if digest else None
        if build is None:
            known = ", ".join(names) or "none yet"
            raise UnknownKernel(
                f"no kernel {name!r} is built here ({known}); build one: "
                "refault kernel build TREE --name NAME"
            )
        return dataclasses.replace(build, **self._asked(name)) if name in names else build

    def remove(self, name: str) -> list[str]:
        """Forget a name and the prefixes of its series; answers what was forgotten.

        Programs that no name is left for go too.
        """
        gone = self._series(name)
        if not gone:
            self.named(name)
        self._forget(gone)
        return gone

    # --- compiled units ------------------------------------------------------------------------

    def object_path(self, digest: str) -> Path:
        """Where an object lies."""
        return self.root / "objects" / digest[:2] / f"{digest}.o"

    def recall(self, recipe: str, digest_of: Callable[[str], str]) -> tuple[str, list[str]] | None:
        """The object made by a recipe of files as they are now, and which files those are."""
        for entry in self._entries(recipe):
            files: dict[str, str] = entry["files"]
            if self.object_path(entry["object"]).is_file() and all(
                digest_of(name) == digest for name, digest in files.items()
            ):
                with contextlib.suppress(OSError):
                    os.utime(self.object_path(entry["object"]))
                return entry["object"], list(files)
        return None

    def keep(self, recipe: str, files: Mapping[str, str], compiled: Path) -> str:
        """Take a compiled object in; answers its digest."""
        digest = file_digest(compiled)
        place = self.object_path(digest)
        if not place.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            whole = place.with_suffix(f".{os.getpid()}")
            shutil.copyfile(compiled, whole)
            whole.replace(place)
        entries = [entry for entry in self._entries(recipe) if entry["files"] != dict(files)]
        entries.append({"files": dict(files), "object": digest})
        write_whole(self._recipe_path(recipe), json.dumps(entries[-32:]))
        return digest

    def note_seconds(self, digest: str, seconds: float) -> None:
        """Write down how long it took to compile an object."""
        write_whole(self.object_path(digest).with_suffix(".seconds"), f"{seconds:.3f}")

    def seconds_of(self, digest: str) -> float | None:
        """How long that took; None if nobody knows."""
        with contextlib.suppress(OSError, ValueError):
            return float(self.object_path(digest).with_suffix(".seconds").read_text())
        return None

    def _recipe_path(self, recipe: str) -> Path:
        return self.root / "recipes" / recipe[:2] / f"{recipe}.json"

    def _entries(self, recipe: str) -> list[dict[str, Any]]:
        try:
            found = json.loads(self._recipe_path(recipe).read_text())
        except (OSError, ValueError):
            return []
        return found if isinstance(found, list) else []

    def prune(self, bytes_max: int | None = None) -> int:
        """Forget what was used longest ago, until the rest has ``bytes_max``; answers the bytes.

        Compiled units, which are compiled again, and programs that no name is left for. None is
        ``$REFAULT_KERNELS_BYTES``, or 4 GiB.
        """
        if bytes_max is None:
            told = os.environ.get("REFAULT_KERNELS_BYTES") or str(_BYTES_MAX)
            if not told.isascii() or not told.isdecimal():
                raise InvalidParameter(f"REFAULT_KERNELS_BYTES: expected bytes, got {told!r:.40}")
            bytes_max = int(told)
        named = set(self.names().values())
        used = {path: path for path in self.root.glob("objects/*/*.o")}
        used |= {
            path: self._about(path.parent.name)
            for path in self.root.glob("builds/*/kernel")
            if path.parent.name not in named
        }
        found = []
        for path, stamp in used.items():
            with contextlib.suppress(OSError):
                found.append((stamp.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= bytes_max:
                break
            if path.name == "kernel":
                shutil.rmtree(path.parent, ignore_errors=True)
            path.unlink(missing_ok=True)
            path.with_suffix(".seconds").unlink(missing_ok=True)
            total -= size
        return total

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """A folder that is gone when it is left."""
        place = self.root / "scratch"
        place.mkdir(parents=True, exist_ok=True)
        for left in place.iterdir():
            # Of a build that was killed.
            if time.time() - left.stat().st_mtime > _SCRATCH_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        return tempfile.TemporaryDirectory(dir=place, prefix="build-")


def default_root() -> Path:
    """``$REFAULT_KERNELS``, or the user's cache."""
    if told := os.environ.get("REFAULT_KERNELS"):
        return Path(told)
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "refault" / "kernels"


def check_name(name: str) -> str:
    """The name, if a build can have it."""
    if not _OWN_NAME.fullmatch(name):
        raise InvalidParameter(
            f"name: {name!r}: expected up to 40 small letters, digits, '.', '_' and '-'"
        )
    return name


def prefix_name(name: str, count: int) -> str:
    """What the first ``count`` patches of a series on a kernel are called."""
    return kernel_label(name, range(1, count + 1))


def file_digest(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f".{path.name}.{os.getpid()}")
    whole.write_text(text, encoding="utf-8")
    whole.replace(path)
