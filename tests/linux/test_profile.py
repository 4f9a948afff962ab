"""A kernel of one's own has a timeline of its counters, and says what it does not tell."""

from pathlib import Path

from refault.catalogue import KERNEL, PatchSet, variant_from_golden_name
from refault.linux.variants import resolve_kernel
from refault.profile import gathering
from refault.replay.session import replay
from refault.timeline import SAMPLES_MAX

WORKLOAD = Path("demo/traces/linux61-workload-1cpu.rft")


def test_a_kernel_has_a_timeline_of_its_counters_and_no_attribution(build, release):
    (made,) = build(release)
    kernel = resolve_kernel(PatchSet(f"{KERNEL}{made.digest}"))
    base = variant_from_golden_name("base")
    [found, model] = gathering.replay(WORKLOAD, [kernel, base], threads=2)
    assert found.result.to_bytes() == replay(WORKLOAD, [kernel])[0].to_bytes()
    timeline = found.timeline
    assert 1 < timeline.sample_count <= SAMPLES_MAX
    assert timeline.names == tuple(found.result.counters | found.result.work)
    for name, value in found.result.counters.items():
        assert timeline.series[name][-1] == value, name
    # Both are sampled at the same places, so that they can be read side by side.
    assert timeline.series["instructions"] == model.timeline.series["instructions"]
    assert found.attribution.views == {}
    assert "not which of them changed one" in " ".join(found.attribution.missing["views"].split())
