"""The simulator against the real kernel code: every field of every operation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from refault.catalogue import GOLDEN
from refault.golden import cases_in, check

HERE = Path(__file__).parent
TRACES = HERE.parents[1] / "demo" / "traces"
FOLDERS = ("vectors", "more", "april/vectors", "april/more", "april/extra")
VECTORS = {folder: list(cases_in(HERE / folder)) for folder in FOLDERS}
CAPTURES = list(cases_in(HERE / "real", traces=TRACES))
NAMES = sorted({(folder, case.name) for folder in FOLDERS for case in VECTORS[folder]})
SETTINGS = sorted({case.name for case in CAPTURES})


@pytest.mark.parametrize(("folder", "name"), NAMES, ids=[f"{f}-{n}" for f, n in NAMES])
def test_a_vector_agrees_with_the_real_code_under_every_variant(folder, name):
    for case in VECTORS[folder]:
        if case.name == name:
            verdict = check(case)
            assert verdict.agrees, verdict
            assert verdict.operations > 0
            assert verdict.agreeing == verdict.operations


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_capture_agrees_with_the_real_code_and_the_real_guest_under_every_variant(setting):
    for case in CAPTURES:
        if case.name == setting:
            verdict = check(case)
            assert verdict.agrees, verdict
            assert verdict.operations > 1_000_000


def test_every_golden_variant_is_held_against_something():
    held = {case.variant for cases in VECTORS.values() for case in cases}
    assert held == set(GOLDEN)
    assert {case.variant for case in CAPTURES} == {
        name for name in GOLDEN if not name.startswith("apr")
    }


@pytest.mark.parametrize("folder", ["vectors", "april/vectors", "april/extra"])
def test_interpreted_and_compiled_agree_with_the_same_scenarios(folder):
    script = (
        "import sys; from pathlib import Path; from refault.golden import cases_in, check\n"
        "cases = [c for c in cases_in(Path(sys.argv[1])) if c.name[0] in 'spx']\n"
        "bad = [v for v in map(check, cases) if not v.agrees]\n"
        "print(*bad, f'{len(cases) - len(bad)} of {len(cases)}', sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(HERE / folder)],
        env={**os.environ, "REFAULT_INTERPRETED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    runs = sum(case.name[0] in "spx" for case in VECTORS[folder])
    assert done.stdout.splitlines() == [f"{runs} of {runs}"], done.stdout + done.stderr
    assert runs >= 51


def test_where_the_real_code_stopped_on_a_defect_so_do_we():
    stopped = {
        (case.name, case.variant): line["bug"]
        for case in VECTORS["vectors"]
        for line in _lines(case.expectation)
        if "bug" in line
    }
    assert stopped[("s10a_bucket_bug", "base")] == "use-after-free:shadow-page-header"
    assert stopped[("s19b_shrink_limit_idle", "base")] == "empty-list"
    assert stopped[("s19d_limit_below_refill", "series")] == "endless-zap"


@pytest.fixture
def planted(tmp_path):
    """A golden folder with one vector, in which one counter of one operation is off by one."""
    vectors = HERE / "vectors"
    name, variant = "s02_unsync_write", "p2"
    manifest = json.loads((vectors / "MANIFEST.json").read_text())
    file = manifest[name]["expect"][variant]
    lines = list(_lines(vectors / file))
    place = max(i for i, line in enumerate(lines) if "pf_fixed" in line.get("c", {}))
    lines[place]["c"]["pf_fixed"] += 1
    text = "\n".join(json.dumps(line) for line in lines).encode()
    (tmp_path / file).write_bytes(zstandard.compress(text))
    source = f"{name}.ops.jsonl.zst"
    (tmp_path / source).write_bytes((vectors / source).read_bytes())
    entry = {name: {"expect": {variant: file}}}
    (tmp_path / "MANIFEST.json").write_text(json.dumps(entry))
    return tmp_path, place


def _lines(path):
    with zstandard.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def test_a_counter_that_is_off_by_one_is_found_and_named(planted):
    folder, place = planted
    (case,) = cases_in(folder)
    verdict = check(case)
    assert not verdict.agrees
    assert verdict.agreeing == place
    assert str(verdict.difference) == f"operation {place}, pf_fixed: expected 2, got 1"


def test_the_command_names_the_difference_and_exits_1(planted):
    folder, place = planted
    done = subprocess.run(
        [sys.executable, "-m", "refault.cli.main", "golden", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"s02_unsync_write p2: operation {place}, pf_fixed" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("0 of 1 runs agree")
    assert done.returncode == 1


def test_a_folder_without_golden_data_is_nothing_to_compare(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "refault.cli.main", "golden", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "nothing to compare: no MANIFEST.json in" in done.stderr
    assert done.stdout == "0 of 0 runs agree, 0 of 0 operations\n"
    assert done.returncode == 1


def test_a_folder_that_is_not_there_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "refault.cli.main", "golden", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "none cannot be opened: No such file or directory" in done.stderr
    assert done.returncode == 2


#: Where the real code of 2.6.34 is not what the architecture alone would be, and why.
NOT_THE_ARCHITECTURE = {
    "g11_release_alias_50k": "the kernel breaks: mmu_unshadow goes on at a freed page",
    "g24_2cpu_bypass_release_30k": "the kernel breaks: mmu_unshadow goes on at a freed page",
    "s05_invlpg": "a translation the guest has not invalidated yet is still used",
    "s10a_bucket_bug": "the kernel breaks: mmu_unshadow goes on at a freed page",
    "s17_permissions": "KVM refuses where a right lacks, before it reads the reserved bit below",
    "s19a_shrink_limit_in_use": "the kernel breaks: reclaim zaps pinned roots for ever",
    "s19b_shrink_limit_idle": "the kernel breaks: reclaim zaps pinned roots for ever",
    "s19d_limit_below_refill": "the kernel breaks: reclaim zaps pinned roots for ever",
    "s20_write_protect_off": "a user writes what a supervisor with CR0.WP 0 wrote before",
    "s28_dirtylog_large_without_log": "the access livelocks in the host",
}


def test_the_architecture_alone_agrees_with_the_real_code_but_where_that_is_known_to_differ():
    verdicts = [check(case, "walk") for case in VECTORS["vectors"] if case.variant == "base"]
    assert {verdict.name for verdict in verdicts if not verdict.agrees} == set(NOT_THE_ARCHITECTURE)
    assert sum(verdict.agrees for verdict in verdicts) > 30


def test_one_engine_is_held_against_another():
    """The lost sync of patch 3, where the trace has no witness: the two engines part there."""
    (case,) = (
        each for each in VECTORS["vectors"] if (each.name, each.variant) == ("s29_lost_mark", "p3")
    )
    verdict = check(case, "shadow", "walk")
    assert verdict.difference.operation == 1049
    assert (verdict.difference.expected, verdict.difference.got) == (8519680, 8388608)
    assert check(case, "walk", "walk").agrees
