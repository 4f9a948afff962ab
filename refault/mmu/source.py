"""Which simulator is this? A digest of its meaning, not of its wording.

Results are keyed by this digest. It covers the syntax trees of every module in
``refault/mmu`` without docstrings (comments are not in a syntax tree), so an
edited explanation leaves every stored result valid; and the limits of a host,
which stand with those of a trace.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

from refault.trace.format import MAX_GFN, MAX_GUEST_PAGES, MAX_SLOTS, MAX_VCPUS

#: Raised by hand when a change outside ``refault/mmu`` changes what a replay means.
SEMANTICS_VERSION = 1


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


def digest_of(folder: Path) -> str:
    """sha256 (hex) of the meaning of every ``.py`` file directly in ``folder``."""
    limits = MAX_SLOTS, MAX_VCPUS, MAX_GFN, MAX_GUEST_PAGES
    total = hashlib.sha256(f"semantics {SEMANTICS_VERSION}, limits {limits}\n".encode())
    for path in sorted(folder.glob("*.py")):
        tree = _without_docstrings(ast.parse(path.read_text(encoding="utf-8")))
        total.update(f"{path.name}\n{ast.dump(tree)}\n".encode())
    return total.hexdigest()


@functools.cache
def simulator_digest() -> str:
    """The digest under which this simulator's results are stored (sha256, hex).

    ``ast.dump`` differs between Python versions only where the grammar does; a
    fleet runs one version, and a mixed one merely computes twice.
    """
    return digest_of(Path(__file__).parent)
