"""A log as a fault-only trace: what its events become, and what its header says it lacks."""

import json

import pytest

from refault.errors import ImportFailed
from refault.trace import TraceReader
from refault.trace.importers.hostevents import import_log
from refault.trace.importers.recognition import Kind, look
from refault.trace.importers.registry import HOST_LOG
from tests.cli.running import run_here
from tests.trace.hostlog.making import Maker, guest
from tests.trace.hostlog.reading import SAMPLES

TDP = {
    "ept-exit": (" q-1 [000] 1.0: kvm_exit: reason EPT_VIOLATION rip 0x1 info 181 0\n", "ept=0"),
    "ept-number": (" q-1 [000] 1.0: kvm_exit: exit_reason=48 guest_rip=0x1 isa=1\n", "ept=0"),
    "ept-code": (" q-1 [000] 1.0: kvm_page_fault: address 1000 error_code 181\n", "ept=0"),
    "npt-exit": (" q-1 [000] 1.0: kvm_exit: reason npf rip 0x1 info 100000014 0\n", "npt=0"),
    "npt-code": (" q-1 [000] 1.0: kvm_page_fault: address 1000 error_code 100000014\n", "npt=0"),
    "tdp": (" q-1 [000] 1.0: kvm_tdp_mmu_spte_changed: as id 0 gfn 1 level 1\n", "ept=0"),
    "root": (
        " q-1 [000] 1.0: kvm_mmu_get_page: sp gfn 0 4 pae q0 direct wux nxe root 0 sync new\n",
        "npt=0",
    ),
}
CR = " q-1 [000] 1.0: kvm_cr: cr_write 3 = 0x1000\n"


def lacks(header):
    return header.losses


def rows(path):
    with TraceReader(path) as reader:
        header = reader.header
        found = [
            row
            for block in reader.blocks()
            for row in zip(*(c.tolist() for c in block[1:]), strict=True)
        ]
    return header, [
        (row[0], row[1], row[2], row[5] % (1 << 64), row[6] % (1 << 64)) for row in found
    ]


@pytest.mark.parametrize(
    "name", ["kvmmmu-linux6.6.v6.dat", "kvmmmu-linux6.6.v7-zstd.dat", "kvmmmu-linux6.6.ftrace.txt",
             "kvmmmu-linux6.6.trace-cmd-report-R.txt", "kvmmmu-linux6.6.perf-script.txt"],
)  # fmt: skip
def test_the_faults_of_a_log_become_accesses_and_faults(tmp_path, name):
    assert look(SAMPLES / name).importer is HOST_LOG
    import_log(SAMPLES / name, tmp_path / "x.rft")
    header, found = rows(tmp_path / "x.rft")
    said = [row for row in found if row[0] != 5]  # the exits for INVLPG are only in some

    assert sorted(said) == sorted([
        (3, 0, 0, 0x80050033, 0),
        (3, 0, 0, 0x6B0, 0),
        (4, 0, 0, 0xC0000080, 0xD01),
        (3, 0, 0, 0x5200000, 0),
        (1, 0, 6, 0x401000, 0x6100000),
        (6, 0, 5, 0x7FFC0000, 6),
        (1, 0, 4, 0x500000, 0x6101000),
        (1, 1, 1, 0xFFFF888005203808, 0x5203808),
        (3, 0, 0, 0x5200000, 0x5200000),
    ])  # fmt: skip
    assert (header.guest_mode, header.vcpu_count) == ("long", 2)
    assert any("cannot be replayed" in loss for loss in lacks(header))
    is_lossy = "perf" not in name
    assert any("137 events were lost" in loss for loss in lacks(header)) == is_lossy
    assert header.origin == "host-events"


def test_the_command_says_what_is_lost(tmp_path, monkeypatch):
    arguments = ("import", SAMPLES / "kvmmmu-linux6.6.v6.dat", "--out", tmp_path)
    told = run_here(monkeypatch, tmp_path, *arguments).stdout
    assert "9 events" in told
    assert "The log is not complete: 137 events were lost." in told
    (told,) = json.loads(run_here(monkeypatch, tmp_path, *arguments, "--json").stdout)
    assert told["origin"] == "host-events"
    assert len(told["losses"]) == 4


def test_invlpg_comes_from_exits_that_say_the_address(tmp_path):
    import_log(SAMPLES / "kvmmmu-linux6.6.ftrace.txt", tmp_path / "x.rft")
    assert [row for row in rows(tmp_path / "x.rft")[1] if row[0] == 5] == [
        (5, 0, 0, 0x500000, 0x5200000)
    ]


def test_threads_that_name_no_vcpu_get_a_free_number_and_it_is_said(tmp_path):
    import_log(SAMPLES / "kvmmmu-linux2.6.34.ftrace.txt", tmp_path / "x.rft")
    header, found = rows(tmp_path / "x.rft")
    assert {row[1] for row in found} == {0, 1}
    assert "Which vCPU ran in 4243 is not in the log; they have free numbers here." in lacks(header)


def test_two_guests_in_one_log_are_said_to_be_two(tmp_path):
    lines = " a-1 [000] 1.0: kvm_entry: vcpu 0\n b-2 [001] 1.1: kvm_entry: vcpu 0\n"
    (tmp_path / "log").write_text(lines + CR)
    import_log(tmp_path / "log", tmp_path / "x.rft")
    assert any("vCPU 0 ran in 2 threads" in loss for loss in lacks(rows(tmp_path / "x.rft")[0]))


def test_marks_of_the_host_become_marks(tmp_path):
    (tmp_path / "log").write_bytes(Maker().make(guest(8)))
    import_log(tmp_path / "log", tmp_path / "x.rft")
    header, found = rows(tmp_path / "x.rft")
    assert header.workload_marks == {"2": "refault mark 2"}
    assert [row[3] for row in found if row[0] == 10] == [2]


@pytest.mark.parametrize("name", TDP)
def test_a_log_of_a_host_with_ept_or_npt_is_refused_with_the_remedy(tmp_path, name):
    line, remedy = TDP[name]
    (tmp_path / "log").write_text(CR + line)
    with pytest.raises(ImportFailed, match="says nothing of shadow paging") as error:
        import_log(tmp_path / "log", tmp_path / "x.rft")
    assert remedy in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_log_without_faults_or_registers_is_refused(tmp_path):
    (tmp_path / "log").write_text("kvm_mmu_set_dirty_bit: gpa 1000\n")
    with pytest.raises(ImportFailed, match="record both systems"):
        import_log(tmp_path / "log", tmp_path / "x.rft")


def test_a_mail_with_a_patch_in_it_is_for_the_reader_of_patches(tmp_path):
    (tmp_path / "mail").write_text(f"Subject: [PATCH] x\n\n{CR}\ndiff --git a/x b/x\n")
    assert look(tmp_path / "mail").kind is Kind.MAIL
    (tmp_path / "mail").write_text(f"Subject: [RFC PATCH v2 0/6] why\n\n{CR}\n")
    assert look(tmp_path / "mail").kind is Kind.MAIL
    for subject in ("slow", "Re: [PATCH] x"):
        (tmp_path / "mail").write_text(f"Subject: {subject}\n\n{CR}\n")
        assert look(tmp_path / "mail").importer is HOST_LOG
