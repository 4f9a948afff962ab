"""A host's counters beside a replay: shown in every form, judged in none."""

import json

from tests.cli.running import run_here
from tests.trace.hostlog.reading import SAMPLES


def test_a_host_is_a_further_column_that_no_verdict_rests_on(trace, tmp_path, monkeypatch):
    arguments = ("replay", trace, "-v", "base", "-v", "p3", "--audit", "off")
    host = ("--host", SAMPLES / "sample.kvm_stat.txt")
    plain = json.loads(run_here(monkeypatch, tmp_path, *arguments, "--json").stdout)
    answer = run_here(monkeypatch, tmp_path, *arguments, *host, "--json")
    (found,) = json.loads(answer.stdout)
    told = found.pop("host")
    assert [found] == plain
    assert told["label"] == "host, not replayed"
    assert told["counters"]["mmu_pde_zapped"] == {"name": "mmu_pde_zapped", "value": 5809}

    text = run_here(monkeypatch, tmp_path, *arguments, *host).stdout
    assert "host, not" in text
    assert any(
        line.startswith("pf_fixed") and line.endswith(" 32724") for line in text.splitlines()
    )
    assert "no verdict rests on it" in " ".join(text.split())
    perf = ("--host", SAMPLES / "sample.perf-stat-kvmmmu.txt")
    text = " ".join(run_here(monkeypatch, tmp_path, *arguments, *perf).stdout.split())
    assert "kvm_mmu_sync_page beside synced" in text
    assert "Counted by the host alone: kvm_entry 52889" in text


def test_counters_of_one_guest_stand_beside_one_trace(tmp_path, trace, monkeypatch):
    host = SAMPLES / "sample.kvm_stat.txt"
    for arguments, message in (
        ((trace, trace), "--host has the counters of one guest: give one trace"),
        ((trace, "--host", tmp_path / "missing"), "missing cannot be opened"),
    ):
        answer = run_here(monkeypatch, tmp_path, "replay", "--host", host, *arguments, "-v", "base")
        assert answer.returncode == 2
        assert message in answer.stderr
    answer = run_here(monkeypatch, tmp_path, "import", host, "--out", tmp_path)
    assert "this is a list of counters of kvm_stat; the option --host" in answer.stderr
