import ast
import hashlib
import subprocess
import sys
from pathlib import Path
from unittest import mock

import refault
from refault.engines import ENGINES
from refault.replay import source
from refault.replay.source import DECODING, digest_of

CODE = '"""A module."""\n\ndef f(x):\n    """Adds one."""\n    return x + 1  # because\n'
LIBRARY = Path(refault.__file__).parent


def digest(folder, text):
    (folder / "below").mkdir(exist_ok=True)
    (folder / "below" / "kernel.py").write_text(text)
    source._meaning.cache_clear()
    return digest_of(folder.rglob("*.py"), folder)


def test_comments_docstrings_and_layout_leave_the_digest_alone(tmp_path):
    before = digest(tmp_path, CODE)
    assert digest(tmp_path, "def f(x):\n\n    return (x + 1)\n") == before


def test_another_constant_in_a_folder_below_is_another_engine(tmp_path):
    assert digest(tmp_path, CODE) != digest(tmp_path, CODE.replace("+ 1", "+ 2"))


def test_another_file_is_another_engine(tmp_path):
    before = digest(tmp_path, CODE)
    (tmp_path / "more.py").write_text("X = 1\n")
    assert digest_of(tmp_path.rglob("*.py"), tmp_path) != before


def covered(engine):
    """The files whose change changes an engine's digest."""
    files = source.files_of(engine.package, engine.compiled_with)
    return {path.relative_to(LIBRARY).as_posix() for path in files}


def test_a_digest_covers_the_engine_what_all_share_and_the_decoding_and_nothing_else():
    shared = {path.relative_to(LIBRARY).as_posix() for path in (LIBRARY / "replay").rglob("*.py")}
    shared |= {f"trace/{name}.py" for name in DECODING}
    for name, engine in ENGINES.items():
        folder = LIBRARY / "engines" / name
        own = {path.relative_to(LIBRARY).as_posix() for path in folder.rglob("*.py")}
        values = {"catalogue/values.py"} if name == "shadow" else set()
        assert covered(engine) == own | shared | values
    assert "engines/shadow/kvm/zap.py" in covered(ENGINES["shadow"])
    assert "trace/rules.py" in covered(ENGINES["walk"])


def test_another_number_of_a_knob_s_value_is_another_engine_and_compiled_anew():
    """Kernels hold the numbers, not the names."""
    shadow = ENGINES["shadow"]
    assert source.engine_digest(shadow.package) != shadow.digest
    present = source.compiled_digest()
    with mock.patch.object(source, "KNOB_VALUES", "refault.catalogue.knobs"):
        assert source.compiled_digest.__wrapped__() != present


def test_a_digest_is_kept_by_the_bytes_it_is_a_digest_of(tmp_path, monkeypatch):
    monkeypatch.setenv("REFAULT_CACHE", str(tmp_path / "cache"))
    made = digest(tmp_path, CODE)
    (kept,) = (tmp_path / "cache" / "digests").iterdir()
    with mock.patch.object(source, "_meaning", side_effect=AssertionError("read once more")):
        assert digest(tmp_path, CODE) == made
    kept.write_text("torn")
    assert digest(tmp_path, CODE) == made == kept.read_text()
    monkeypatch.setenv("REFAULT_CACHE", "/dev/null/nowhere")
    assert digest(tmp_path, CODE) == made


def test_what_a_digest_covers_of_decoding_is_what_the_reader_imports():
    """Whoever adds a module to the reader adds it to the digest."""
    wanted, found = {"reader"}, set()
    while wanted - found:
        name = min(wanted - found)
        found.add(name)
        tree = ast.parse((LIBRARY / "trace" / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "refault.trace."
            ):
                wanted.add((node.module or "").removeprefix("refault.trace."))
    assert found == set(DECODING)


def test_an_engine_tells_its_name_its_counters_and_its_digest_without_a_compiler():
    code = (
        "import sys; from refault.engines import ENGINES;"
        "print([(e.name, len(e.counters), len(e.digest)) for e in ENGINES.values()]);"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "[('shadow', 23, 64), ('walk', 0, 64), ('kernel', 0, 64)]",
        "False",
    ]


def test_a_syntax_tree_is_told_alike_by_every_release_of_python():
    """Recorded with Python 3.11; releases differ in what ``ast.dump`` leaves out."""
    told = source._dump(
        ast.parse("def f(x: int = 1) -> None:\n    return f'{x!r}' if x else ...\n")
    )
    assert hashlib.sha256(told.encode()).hexdigest() == (
        "b455c4ca6d87e6a9d5b4586a2af318f3986ead069014e236e33b116bf59f37b0"
    )
