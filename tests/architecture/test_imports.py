import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source_files import ROOT, parse, python_files

PURE = ("refault/trace", "refault/compare", "refault/catalogue", "refault/results.py")
PURE_MAY_IMPORT = {"numpy", "msgpack", "zstandard", "refault"} | sys.stdlib_module_names


def test_import_contracts_are_kept():
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("lint-imports")),
            "--no-logo",
            "--cache-dir",
            str(ROOT / ".cache" / "import-linter"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def imported_packages(path: Path) -> set[str]:
    packages = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            packages.add(str(node.module).partition(".")[0])
    return packages


def test_traces_and_comparisons_need_numpy_msgpack_and_zstandard_only():
    files = [path for path in python_files("refault") if path.as_posix().startswith(PURE)]
    assert files
    strangers = {
        str(path): sorted(imported_packages(path) - PURE_MAY_IMPORT)
        for path in files
        if imported_packages(path) - PURE_MAY_IMPORT
    }
    assert not strangers


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("refault.trace", {"numba", "pydantic", "httpx", "sqlalchemy"}),
        ("refault.compare", {"numba", "pydantic", "httpx", "sqlalchemy"}),
        ("refault.catalogue", {"numba", "pydantic", "httpx", "sqlalchemy"}),
        ("refault.client", {"numba", "fastapi", "sqlalchemy", "celery"}),
        ("refault.cli.main", {"numba", "fastapi", "sqlalchemy", "celery"}),
        ("services.api.app", {"numba", "worker", "services.dashboard"}),
        ("services.dashboard", {"numba", "worker", "sqlalchemy", "services.api"}),
        ("worker.app", {"fastapi", "services.api", "services.dashboard", "services.local"}),
    ],
)
def test_importing_a_room_loads_nothing_it_must_not_know(module, unwanted):
    assert not unwanted & loaded_by(f"import {module}")


def loaded_by(program: str) -> set[str]:
    """Every module that is loaded when a program is at its end."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import sys; print(*sys.modules, sep='\\n')"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_all_verbs_together_load_no_simulator_and_no_server_before_one_runs():
    program = "from refault.cli.verbs import PLACES, verb; any(not verb(name) for name in PLACES)"

    assert not {"numba", "fastapi", "sqlalchemy", "celery"} & loaded_by(program)


def test_a_verb_is_loaded_without_the_others():
    program = (
        "from refault.cli.main import app; from refault.cli.verbs import verb; verb('explain')"
    )
    verbs = {name for name in loaded_by(program) if name.startswith("refault.cli.")}

    assert {name for name in verbs if name.endswith("_command")} == {"refault.cli.explain_command"}
