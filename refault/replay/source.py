"""The digest that identifies an engine: of its meaning, not of its wording.

Results are keyed by this digest. It covers the syntax trees of

- every module in the engine's own folder and the folders below it,
- ``refault/replay``,
- the modules of ``refault/trace`` that decode a trace, and
- what else its kernels are compiled with (``compiled_with`` of its ``ENGINE``),

without docstrings (comments are not in a syntax tree). So editing an explanation, or changing
another engine or a comparison, leaves every stored result valid.

That takes half a second, and every process that replays would do it: a digest is kept beside the
compiled kernels, by the bytes of all that it is a digest of.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from refault.replay.compile.cache import cache_folder
from refault.trace import format as trace_format

#: Raised by hand when a change outside those folders changes what a replay means.
SEMANTICS_VERSION = 1

#: :mod:`refault.trace.reader` and the modules of its package that it imports.
DECODING = (
    "contents",
    "decoder",
    "format",
    "frames",
    "halves",
    "header",
    "packed",
    "packing",
    "reader",
    "rules",
    "totals",
    "unpacking",
)

#: The numbers of the knobs' values, which kernels that read knobs are compiled with.
KNOB_VALUES = "refault.catalogue.values"

_LIBRARY = Path(trace_format.__file__).parents[1]


@functools.cache
def engine_digest(package: str, compiled_with: tuple[str, ...] = ()) -> str:
    """The digest of the engine in ``package`` (``refault.engines.shadow``): sha256, hex."""
    return digest_of(files_of(package, compiled_with), _LIBRARY)


def files_of(package: str, compiled_with: tuple[str, ...] = ()) -> Iterator[Path]:
    """The modules that an engine's digest covers."""
    yield from _modules(_place_of(package), _LIBRARY / "replay")
    yield from (_place_of(name).with_suffix(".py") for name in compiled_with)


def _place_of(name: str) -> Path:
    """The path of a package of the library, or of a module without its suffix."""
    return _LIBRARY.joinpath(*name.split(".")[1:])


@functools.cache
def compiled_digest() -> str:
    """The digest of everything kernels are compiled from: the key of their cache."""
    paths = {*_modules(_LIBRARY / "engines", _LIBRARY / "replay")}
    return digest_of(paths | {_place_of(KNOB_VALUES).with_suffix(".py")}, _LIBRARY)


def _modules(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from folder.rglob("*.py")
    yield from (_LIBRARY / "trace" / f"{name}.py" for name in DECODING)


def digest_of(paths: Iterable[Path], root: Path) -> str:
    """sha256 (hex) of the meaning of those modules, each under its place below ``root``."""
    modules = [(path.relative_to(root).as_posix(), path.read_bytes()) for path in sorted(paths)]
    kept = cache_folder() / "digests" / _wording(modules)
    with contextlib.suppress(OSError, ValueError):
        known = kept.read_text(encoding="ascii")
        if re.fullmatch("[0-9a-f]{64}", known):
            return known
    total = hashlib.sha256(f"semantics {SEMANTICS_VERSION}\n".encode())
    for name, source in modules:
        total.update(f"{name}\n{_meaning(source)}\n".encode())
    digest = total.hexdigest()
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{kept.name}.{os.getpid()}")
        partial.write_text(digest, encoding="ascii")
        partial.replace(kept)
    return digest


def _wording(modules: Iterable[tuple[str, bytes]]) -> str:
    """sha256 (hex) of all that a digest is made of and by."""
    total = hashlib.sha256(f"{SEMANTICS_VERSION} {sys.version_info[:2]}\n".encode())
    for name, source in (("", Path(__file__).read_bytes()), *modules):
        total.update(f"{name}\n{len(source)}\n".encode())
        total.update(source)
    return total.hexdigest()


@functools.cache
def _meaning(source: bytes) -> str:
    return _dump(_without_docstrings(ast.parse(source)))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        first = node.body[0] if node.body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _dump(node: object) -> str:
    """A syntax tree as text: as ``ast.dump``, whose form changes between releases of Python."""
    if isinstance(node, ast.Constant):
        return repr(node.value)
    if isinstance(node, ast.AST):
        fields = ((name, getattr(node, name, None)) for name in node._fields)
        # An absent part may be None, an empty list, or a field that this release lacks.
        told = [f"{name}={_dump(value)}" for name, value in fields if value not in (None, [])]
        return f"{type(node).__name__}({','.join(told)})"
    if isinstance(node, list):
        return f"[{','.join(map(_dump, node))}]"
    return repr(node)
