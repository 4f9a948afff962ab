"""Counters of a host, in every form that its tools print them."""

import random

import pytest

from refault.errors import ImportFailed
from refault.trace.hostlog.counters import read_counters
from tests.trace.hostlog.reading import SAMPLES

ROOT = "/sys/kernel/debug/kvm"
FORMS = {
    "kvm_stat -1": ("kvm_exit   52889   12\npf_fixed   32724  310\n", "kvm_stat"),
    "kvm_stat of 2010": (
        "kvm statistics\n\n kvm_exit     52889     12\n pf_fixed     32724    310\n", "kvm_stat",
    ),
    "kvm_stat table": (
        ("Event   Total %Total CurAvg/s\n kvm_exit  52889  9.1  12\n pf_fixed  32724 40.1 310\n"
        " Total  85613  322\n"), "kvm_stat",
    ),
    "kvm_stat on a terminal": (
        ("\x1b[1;1HEvent   Total %Total CurAvg/s\x1b[K\n"
        " \x1b[1mkvm_exit\x1b[0m  52889  9.1  12\n pf_fixed  32724 40.1 310\n"), "kvm_stat",
    ),
    "kvm_stat -c -l": (
        ("Timestamp,kvm_exit,pf_fixed\n2026-01-05 10:00:00,52880,32000\n"
        "2026-01-05 10:00:01,9,724\n"), "kvm_stat",
    ),
    "grep": (f"{ROOT}/4242-12/kvm_exit:52889\n{ROOT}/4242-12/pf_fixed:32724\n", "debugfs"),
    "grep of all": (
        (f"{ROOT}/kvm_exit:52889\n{ROOT}/pf_fixed:32724\n{ROOT}/4242-12/kvm_exit:52889\n"
        f"{ROOT}/4242-12/pf_fixed:32724\n{ROOT}/4242-12/vcpu0/pf_fixed:1\n"), "debugfs",
    ),
    "head": (f"==> {ROOT}/kvm_exit <==\n52889\n\n==> {ROOT}/pf_fixed <==\n32724\n", "debugfs"),
    "loop": ("kvm_exit 52889\npf_fixed 32724\n", "debugfs"),
    "perf stat": (
        (" Performance counter stats for 'system wide':\n\n"
        "   52,889   kvm:kvm_exit   ( +- 0.1% )\n   32.724   kvm:pf_fixed\n"
        "   <not counted>   kvmmmu:kvm_mmu_sync_page\n"), "perf stat",
    ),
    "perf stat -I": (
        ("     1.000123456   52,880   kvm:kvm_exit\n     1.000123456   32,724   kvm:pf_fixed\n"
        "     2.000123456        9   kvm:kvm_exit\n"), "perf stat",
    ),
    "perf stat -x,": (
        "52889,,kvm:kvm_exit,10001,100.00,,\n32724,,kvm:pf_fixed,10001,100.00,,\n", "perf stat",
    ),
    "perf stat -j": (
        ('{"counter-value" : "52889.000000", "unit" : "", "event" : "kvm:kvm_exit"}\n'
        '{"counter-value" : "32724.000000", "event" : "kvm:pf_fixed"}\n'), "perf stat",
    ),
    "perf stat of a locale": (
        ("  52\u202f889   kvm:kvm_exit  ( +- 0,1% )\n   32.724,67   kvm:pf_fixed\n"), "perf stat",
    ),
    "perf stat of India": ("  0,52,889   kvm:kvm_exit\n  32,724   kvm:pf_fixed\n", "perf stat"),
    "perf stat -A": (
        ("CPU0   52,000   kvm:kvm_exit\nCPU1   889   kvm:kvm_exit\n"
        "CPU0  32,724   kvm:pf_fixed\nCPU1  <not counted>  kvm:pf_fixed\n"), "perf stat",
    ),
    "perf stat --per-socket -I": (
        ("  1.000123456 S0-D0  4  52,889  kvm:kvm_exit\n"
        "  1.000123456 S0-D0  4  32,724  kvm:pf_fixed\n"), "perf stat",
    ),
    "perf stat -x; -I -A": (
        ("     1.000123456;CPU0;52889;;kvm:kvm_exit;1;100.00;;\n"
        "     1.000123456;CPU1;32724;;kvm:pf_fixed;1;100.00;;\n"
        "     2.000123456;CPU1;<not counted>;;kvm:pf_fixed;0;100.00;;\n"), "perf stat",
    ),
    "perf stat -x, -r": (
        "52889.50,,kvm:kvm_exit,0.3%,1,100.00,,\n32724,,kvm:pf_fixed,0%,1,100.00,,\n", "perf stat",
    ),
    "perf stat -j -I": (
        ('{"interval" : 1.0, "counter-value" : "52880.000000", "event" : "kvm:kvm_exit"}\n'
        '{"interval" : 1.0, "counter-value" : "32724.000000", "event" : "kvm:pf_fixed"}\n'
        '{"interval" : 2.0, "counter-value" : "9.000000", "event" : "kvm:kvm_exit"}\n'
        '{"interval" : 2.0, "counter-value" : "<not counted>", "event" : "kvm:pf_fixed"}\n'),
        "perf stat",
    ),
    "kvm_stat -l before 2020": (
        ("kvm_exit pf_fixed \n     52880      32000 \n         9        724 \n"),
        "kvm_stat",
    ),
    "kvm_stat -l": (
        ("kvm_exit pf_fixed \n2026-12-01 05:00:00     52880     32000\n"
        "kvm_exit pf_fixed \n2026-12-01 05:00:01         9       724\n"), "kvm_stat",
    ),
}  # fmt: skip


def counters(folder, text):
    (folder / "counters.txt").write_text(text, "utf-8")
    return read_counters(folder / "counters.txt")


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(tmp_path, name):
    text, form = FORMS[name]
    assert counters(tmp_path, text) == (form, {"kvm_exit": 52889, "pf_fixed": 32724})


@pytest.mark.parametrize(
    ("name", "form", "count", "value"),
    [("kvm_stat", "kvm_stat", 11, ("mmu_pde_zapped", 5809)),
     ("debugfs-kvm", "debugfs", 12, ("remote_tlb_flush", 1)),
     ("perf-stat-kvmmmu", "perf stat", 6, ("kvm_mmu_sync_page", 1515))],
)  # fmt: skip
def test_the_samples_are_read_whole(name, form, count, value):
    found = read_counters(SAMPLES / f"sample.{name}.txt")
    assert (found.form, len(found.values), found.values[value[0]]) == (form, count, value[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "no counters of kvm_stat, debugfs or perf stat"),
        (f"{ROOT}/1-2/pf_fixed:1\n{ROOT}/3-4/pf_fixed:2\n", "counters of 2 guests"),
        (" kvm_exit(EPT_VIOLATION)  12  1.0  3\n", "EPT or NPT on"),
        ("x\n" * (3 << 20), "at most 4194304 bytes"),
        (" Performance counter stats for 'a':\n 1 kvm:kvm_exit\n" * 2, "several runs of perf stat"),
        (" 1,2,3 kvm:kvm_exit\n 5 kvm:kvm_msr\n", "kvm_exit is 1,2,3, which is no number"),
    ],
)
def test_what_cannot_stand_beside_a_replay_is_refused(tmp_path, text, message):
    with pytest.raises(ImportFailed, match=message):
        counters(tmp_path, text)


def test_a_copied_folder_of_debugfs_is_read_as_grep_prints_it(tmp_path):
    guest = tmp_path / "kvm" / "4242-12"
    (guest / "vcpu0").mkdir(parents=True)
    for folder in (guest.parent, guest):
        (folder / "kvm_exit").write_text("52889\n")
        (folder / "pf_fixed").write_text("32724\n")
    (guest / "vcpu0" / "pf_fixed").write_text("1\n")
    (guest / "mmu_rmaps_stat").write_text("Rmap_Count:  0 1\n")
    for folder in (guest.parent, guest):
        assert read_counters(folder) == ("debugfs", {"kvm_exit": 52889, "pf_fixed": 32724})
    second = guest.parent / "77-3"
    second.mkdir()
    (second / "kvm_exit").write_text("1\n")
    with pytest.raises(ImportFailed, match="counters of 2 guests"):
        read_counters(guest.parent)
    with pytest.raises(ImportFailed, match="no counters"):
        read_counters(tmp_path)


def test_harm_of_any_kind_is_an_error_or_numbers(tmp_path):
    draw = random.Random(1)
    for text, _ in FORMS.values():
        for _ in range(30):
            data = bytearray(text.encode())
            for _ in range(draw.choice((1, 5))):
                data[draw.randrange(len(data))] = draw.randrange(256)
            (tmp_path / "counters.txt").write_bytes(data[: draw.randrange(1, len(data) + 1)])
            try:
                found = read_counters(tmp_path / "counters.txt")
            except ImportFailed as error:
                assert "counters.txt" in str(error)  # noqa: PT017
            else:
                assert all(0 <= value <= 1 << 70 for value in found.values.values())
