"""The digest that identifies an engine: of its meaning, not of its wording.

Results are keyed by this digest. It covers the syntax trees of

- every module in the engine's own folder and the folders below it,
- ``refault/replay``,
- the modules of ``refault/trace`` that decode a trace, and
- what else its kernels are compiled with (``compiled_with`` of its ``ENGINE``),

without docstrings (comments are not in a syntax tree). So editing an explanation, or changing
another engine or a comparison, leaves every stored result valid.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

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
    total = hashlib.sha256(f"semantics {SEMANTICS_VERSION}\n".encode())
    for path in sorted(paths):
        total.update(f"{path.relative_to(root).as_posix()}\n{_meaning(path)}\n".encode())
    return total.hexdigest()


@functools.cache
def _meaning(path: Path) -> str:
    return _dump(_without_docstrings(ast.parse(path.read_text(encoding="utf-8"))))


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
