"""Generates the synchronous client from the asynchronous one, for ``make client``.

With ``--check``, which is part of ``make lint``, nothing is written, and a file that differs from
the generated text is an error. unasync removes ``async`` and ``await`` and renames; ruff sorts the
imports and formats.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import unasync

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path("refault", "client", "asynchronous")
TARGET = Path("refault", "client", "synchronous")
#: Names that differ between the two. unasync itself knows those of the standard library.
NAMES = {
    "AsyncBaseTransport": "BaseTransport",
    "AsyncBatchResults": "BatchResults",
    "AsyncBundles": "Bundles",
    "AsyncCatalogue": "Catalogue",
    "AsyncClient": "Client",
    "AsyncKernels": "Kernels",
    "AsyncLists": "Lists",
    "AsyncNotes": "Notes",
    "AsyncQuestions": "Questions",
    "AsyncServiceClient": "Client",
    "AsyncTeam": "Team",
    "aclose": "close",
    "aiter_bytes": "iter_bytes",
    "aiter_raw": "iter_raw",
    "aiter_sse": "iter_sse",
    "async_blocking": "blocking",
    "async_sleep": "sleep",
    "asynchronous": "synchronous",
}
_DOOR = '"""What :mod:`refault.client.asynchronous` does, one call at a time."""\n'
# Else ruff sorts an import by whether its file exists yet.
_SORT = ("check", "--config", "lint.isort.known-first-party = ['refault']")
# Without `async` a loop that yields is a `yield from`; ruff calls that fix unsafe.
_TIDY = (
    (*_SORT, "--select", "I,UP028", "--fix", "--unsafe-fixes", "--quiet"),
    ("format", "--quiet"),
)


def main() -> None:
    """Write the files, or only compare them."""
    files = generated()
    if "--check" not in sys.argv[1:]:
        shutil.rmtree(ROOT / TARGET, ignore_errors=True)
        (ROOT / TARGET).mkdir()
        for path, text in files.items():
            (ROOT / path).write_text(text, encoding="utf-8")
        return
    names = ", ".join(map(str, differing(files)))
    if names:
        sys.exit(
            f"not as generated from {SOURCE}: {names}\n"
            f"Change {SOURCE} instead, then run `make client`."
        )


def generated() -> dict[Path, str]:
    """The text of each file of the synchronous client, by its path in the checkout."""
    with TemporaryDirectory() as scratch:
        source, target = Path(scratch, SOURCE.name), Path(scratch, TARGET.name)
        shutil.copytree(ROOT / SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
        rule = unasync.Rule(f"/{SOURCE.name}/", f"/{TARGET.name}/", NAMES)
        paths = sorted(source.glob("*.py"))
        unasync.unasync_files([str(path) for path in paths], [rule])
        texts = {path.name: (target / path.name).read_text(encoding="utf-8") for path in paths}
    texts["__init__.py"] = _DOOR
    return {TARGET / name: _tidied(TARGET / name, text) for name, text in texts.items()}


def differing(files: dict[Path, str]) -> list[Path]:
    """The files of the synchronous client that differ from ``files``, are missing or too many."""
    found = {path.relative_to(ROOT) for path in (ROOT / TARGET).glob("*.py")}
    return sorted(
        path
        for path in found | files.keys()
        if path not in found or (ROOT / path).read_text(encoding="utf-8") != files.get(path)
    )


def _tidied(path: Path, text: str) -> str:
    """The text, formatted, below a header that names its source."""
    header = f"# Generated from {SOURCE / path.name} by `make client`: change it there.\n"
    for verb in _TIDY:
        command = [sys.executable, "-m", "ruff", *verb, "--stdin-filename", str(path), "-"]
        done = subprocess.run(
            command, input=text, cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{path}: {done.stderr or done.stdout}")
        text = done.stdout
    return header + text


if __name__ == "__main__":
    main()
