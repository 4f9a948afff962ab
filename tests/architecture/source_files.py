"""Which files of the checkout are ours, for the tests of this folder."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("refault", "db", "services", "worker")


MADE_BY_TOOLS = {".venv", ".cache", ".refault", "build", "dist", "__pycache__"}


@cache
def project_files() -> tuple[Path, ...]:
    """Every file git has or would take, relative to the checkout.

    Without git, as in an unpacked archive, every file that no tool has made.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = {Path(name) for name in listed.stdout.decode().split("\0") if name}
    else:
        names = {path.relative_to(ROOT) for path in ROOT.rglob("*")}
        names = {name for name in names if not MADE_BY_TOOLS & set(name.parts)}
    return tuple(sorted(name for name in names if (ROOT / name).is_file()))


def python_files(*folders: str) -> Iterator[Path]:
    """The Python files below the named folders, relative to the checkout."""
    for path in project_files():
        if path.suffix == ".py" and path.parts[0] in folders:
            yield path


def parse(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))
