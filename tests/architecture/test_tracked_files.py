import re

import pytest

from tests.architecture.source_files import ROOT, project_files

# Written in pieces, so that this file does not find itself.
MACHINE_PATHS = re.compile(
    "|".join(["/wo" + "rk/", "/ro" + "ot/", r"/ho" + r"me/\w", "/opt/" + r"\w"])
)
REGISTRIES = re.compile(
    "|".join(
        [
            "pypi" + r"\.org",
            "python" + "hosted",
            "registry" + r"\.npmjs",
            "--index" + "-url",
            "--extra-index" + "-url",
            "--find" + "-links",
            "crates" + r"\.io",
        ]
    )
)
TEXT_SIZE_MAX = 4 << 20


def lines_matching(pattern):
    for path in project_files():
        content = (ROOT / path).read_bytes()[:TEXT_SIZE_MAX]
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
            if pattern.search(line):
                yield f"{path}:{number}: {line.strip()[:100]}"


@pytest.mark.parametrize(
    "pattern", [MACHINE_PATHS, REGISTRIES], ids=["machine-paths", "registries"]
)
def test_no_file_knows_the_machine_it_was_written_on(pattern):
    assert not list(lines_matching(pattern))


def test_nothing_made_by_a_tool_is_tracked():
    made = {"__pycache__", ".venv", ".refault", ".cache", ".hypothesis", ".DS_Store"}
    assert not [str(path) for path in project_files() if made & set(path.parts)]


def test_no_file_is_too_large_for_a_checkout():
    sizes = {str(path): (ROOT / path).stat().st_size for path in project_files()}
    assert not {path: size for path, size in sizes.items() if size > 2 << 20}
