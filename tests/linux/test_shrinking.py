"""A kernel of one's own under ``refault shrink --keep``."""

import functools
import json
from pathlib import Path

import pytest

from refault.trace import TraceReader
from refault.verify import verify
from tests.cli.running import run
from tests.fixtures.trees import packed, without_invalidation

CAPTURE = Path("demo/corpus/sqlite-1cpu.rft").resolve()


@pytest.fixture
def refault(tmp_path, own_kernels):
    """The command, with a store of its own."""
    return functools.partial(run, tmp_path, REFAULT_KERNELS=str(own_kernels))


def test_a_defect_of_a_patch_comes_down_to_what_shows_it(refault, patch_of, tmp_path):
    (patch,) = patch_of("6.12", ("INVLPG has nothing to do", without_invalidation))
    (tmp_path / "series.mbox").write_bytes(patch)
    series = ("--name", "shrunk", "--patch", tmp_path / "series.mbox")
    built = refault("kernel", "build", packed("6.12"), *series)
    assert built.returncode == 0, built.stderr

    # The capture once; what is left of it serves for the rest.
    source, out = CAPTURE, tmp_path / "small.rft"
    for keep, reference, command in (
        ("finding:wrong-address@kernel:shrunk+1", "Linux 6.12", "-v kernel:shrunk -v"),
        ("diverges:base,kernel:shrunk+1", None, "refault diverge"),
    ):
        answer = refault("shrink", source, "--keep", keep, "--out", out)
        assert answer.returncode == 0, answer.stderr
        assert (f"reference  {reference}" in answer.stdout) == (reference is not None)
        assert command in answer.stdout
        assert "no event can be left out" in answer.stdout
        # An entry is changed, INVLPG says so, and the old translation is still used.
        assert "invlpg vCPU 0" in answer.stdout
        with TraceReader(out) as trace:
            assert sum(block.event_count for block in trace.blocks()) <= 40
        assert verify(out).is_good
        source, out = tmp_path / "small.rft", tmp_path / "smaller.rft"

    for keep, code, said in (
        ("finding:missed-fault@kernel:shrunk", 1, "the run has no findings"),
        ("counter:hw_flush:kernel:shrunk+1<kernel:shrunk", 2, "--keep counter:hw_flush: "),
    ):
        answer = refault("shrink", source, "--keep", keep, "--out", tmp_path / "none.rft")
        assert answer.returncode == code, answer.stderr
        assert said in answer.stderr
    assert not list(tmp_path.glob("none.rft*"))
    told = refault(
        *("shrink", source, "--keep", "counter:tlb_flush:kernel:shrunk+1<kernel:shrunk"),
        *("--out", out, "--json", "--as-test", tmp_path / "vectors"),
    )
    body = json.loads(told.stdout)
    assert body["shown"]["tlb_flush of A"] < body["shown"]["tlb_flush of B"]
    assert (tmp_path / "vectors" / "MANIFEST.json").is_file()
