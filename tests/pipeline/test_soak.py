"""A short soak with every test run: each kind of fault once. ``make soak`` runs as long as asked.

Two faults of a kind, and so most pairs of kinds that follow one another, are the long form's.
"""

import json
import subprocess
import sys

import pytest

from tests.soak import Faults, drawn

MINUTES = 0  # no longer than one fault of each kind takes
SEED = 20260401


@pytest.mark.timeout(900)  # the first start compiles the simulator
def test_a_random_fault_of_every_kind_loses_nothing_and_counts_nothing_twice(tmp_path):
    report_path = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", str(MINUTES), str(SEED), "--json", str(report_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(report_path.read_text())
    assert report["violations"] == []
    assert set(report["faults_by_kind"]) == set(Faults.kinds())
    assert report["runs"]["done"] > 0
    # Whether a worker that dies held a shard is a matter of chance, where each dies once.
    assert report["parts_replaced"] > 0


def test_a_seed_draws_the_same_faults_again_and_each_kind_before_any_twice():
    first, again, other = ([next(f) for f in [drawn(seed)] * 40] for seed in (5, 5, 6))
    assert first == again != other
    kinds = Faults.kinds()
    assert sorted(fault.kind for fault in first[: len(kinds)]) == kinds
