"""Each sample says the same whichever tool wrote it; what trace-cmd read of it is what we read."""

import re
import textwrap

import pytest

from refault.trace.hostlog.events import PAGE_EVENTS
from tests.trace.hostlog.reading import SAMPLES, read, read_text

DATS = sorted(path.name for path in SAMPLES.glob("*.dat"))
REPORTS = ("trace-cmd-report.txt", "trace-cmd-report-N.txt", "trace-cmd-report-R.txt")


def plain(event):
    return event.name, event.cpu, event.thread, event.vcpu


@pytest.mark.parametrize("ending", REPORTS)
@pytest.mark.parametrize("name", DATS)
def test_a_trace_dat_is_read_event_by_event_as_trace_cmd_reads_it(name, ending):
    report = SAMPLES / f"{re.sub('.v[67].*', '', name)}.{ending}"
    if not report.exists():
        return
    facts, events = read(SAMPLES / name)
    told, lines = read(report)

    assert list(map(plain, events)) == list(map(plain, lines))
    assert facts.lost_count == told.lost_count == 137
    assert not facts.is_complete
    assert facts.unread_count == told.unread_count == 0
    for event, line in zip(events, lines, strict=True):
        assert abs(event.time_ns - line.time_ns) <= 1000
        numbers = {key: value for key, value in line.fields.items() if not isinstance(value, str)}
        assert numbers == {key: event.fields[key] for key in numbers}, (event, line)


def test_the_raw_report_has_all_that_the_file_has():
    _, events = read(SAMPLES / "kvmmmu-linux6.6.v6.dat")
    _, lines = read(SAMPLES / "kvmmmu-linux6.6.trace-cmd-report-R.txt")
    for event, line in zip(events, lines, strict=True):
        fields = dict(event.fields)
        fields.pop("pte_bytes", None)  # which a report without the kernel's version does not tell
        assert fields == dict(line.fields)


def test_version_7_is_read_as_version_6():
    _, old = read(SAMPLES / "kvmmmu-linux6.6.v6.dat")
    _, new = read(SAMPLES / "kvmmmu-linux6.6.v7-zstd.dat")
    assert old == new
    assert len(old) == 43


def test_a_page_of_the_file_is_what_the_kernel_says_of_it():
    for kernel in ("5.10", "6.6"):
        pages = [
            [event.fields for event in read(path)[1] if event.name in PAGE_EVENTS]
            for path in (
                SAMPLES / f"kvmmmu-linux{kernel}.v6.dat",
                SAMPLES / f"kvmmmu-linux{kernel}.ftrace.txt",
            )
        ]
        assert [dict(fields) for fields in pages[0]] == [dict(fields) for fields in pages[1]]
        assert {fields["pte_bytes"] for fields in pages[0]} == {8}


def test_perf_script_says_what_the_kernels_text_says():
    facts, lines = read(SAMPLES / "kvmmmu-linux6.6.perf-script.txt")
    _, events = read(SAMPLES / "kvmmmu-linux6.6.ftrace.txt")
    assert (facts.form, facts.lost_count, facts.is_complete) == ("perf script", 0, True)
    assert lines == events


def test_columns_may_be_missing(tmp_path):
    script = (SAMPLES / "kvmmmu-linux6.6.perf-script.txt").read_text()
    _, whole = read_text(tmp_path, script)
    bare = "\n".join(line[line.index("[") :] for line in script.splitlines())
    _, events = read_text(tmp_path, bare)
    assert [event.fields for event in events] == [event.fields for event in whole]
    assert {event.thread for event in events} == {-1}
    assert {event.vcpu for event in events[8:]} == {0, 1}  # joined on the CPU instead

    ftrace = (SAMPLES / "kvmmmu-linux2.6.38.ftrace.txt").read_text()
    _, whole = read_text(tmp_path, ftrace)
    cut = re.sub(r"(?m)^.*?\d: (?=kvm_)", "", ftrace)
    facts, events = read_text(tmp_path, cut)
    assert [event.fields for event in events] == [event.fields for event in whole]
    assert {(event.time_ns, event.cpu, event.thread) for event in events} == {(-1, -1, -1)}
    assert facts.lost_count == 137
    for prefix in ("q-4242    0d..1.     1.5: ", "q-4242    3-0x0     1.5: ", "q 42/43 1.5: (+1) ",
                   "q-42 (-------) [001] ..... 1.5: "):  # fmt: skip
        (event,) = read_text(tmp_path, f"{prefix}kvm_entry: vcpu 3\n")[1]
        assert (event.time_ns, event.vcpu) == (1_500_000_000, 3)
    facts, _ = read_text(tmp_path, ftrace + " ?? 1.5 ~ 1.5: !! kvm_entry: vcpu 3\n")
    assert facts.first_unread == "?? 1.5 ~ 1.5: !! kvm_entry: vcpu 3"
    for flags in ("", "d..1. ", "....1 ", "(4242) [000] d... "):
        line = f" qemu-4242 {flags or '[000] '}7.5: kvm_entry: vcpu 3\n"
        line = line if "[" in line else line.replace("4242 ", "4242 [002] ")
        assert read_text(tmp_path, line)[1][0].vcpu == 3


def test_stack_traces_between_events_are_passed_over(tmp_path):
    _, events = read(SAMPLES / "kvmmmu-linux6.6.stacktraces.ftrace.txt")
    _, whole = read(SAMPLES / "kvmmmu-linux6.6.ftrace.txt")
    assert events == whole[: len(events)]
    script = (SAMPLES / "kvmmmu-linux6.6.perf-script.txt").read_text()
    stack = (
        "\tffffffff81a0 kvm_mmu_get_page+0x1 ([kernel.kallsyms])\n\t7f00 ioctl+0x1f (/libc.so)\n\n"
    )
    between = "".join(f"{line}\n{stack}" for line in script.splitlines())
    assert read_text(tmp_path, between)[1] == read(SAMPLES / "kvmmmu-linux6.6.perf-script.txt")[1]


@pytest.mark.parametrize("width", [60, 72, 78])
@pytest.mark.parametrize("mark", ["> ", ">> ", "> > ", "| ", ""])
@pytest.mark.parametrize(
    "name", ["kvmmmu-linux6.6.ftrace.txt", "kvmmmu-linux5.10.trace-cmd-report.txt"]
)
def test_a_quoted_and_wrapped_mail_says_what_it_quotes(tmp_path, name, mark, width):
    text = (SAMPLES / name).read_text()
    wrapped = "\n".join(
        mark + part
        for line in text.splitlines()
        for part in textwrap.wrap(" ".join(line.split()), width, break_on_hyphens=False) or [""]
    )
    mail = f"Subject: Re: slow guest\n\nOn Monday, someone wrote:\n{wrapped}\n\nThanks,\nme\n"
    assert read_text(tmp_path, mail)[1] == read(SAMPLES / name)[1]


def test_a_mail_may_be_quoted_printable(tmp_path):
    mail = (
        "Subject: trace\nContent-Transfer-Encoding: quoted-printable\n\n"
        " qemu-1 [000] 1.5: kvm_cr: cr_write 0 =3D 0x800=\n50033\n"
    )
    assert read_text(tmp_path, mail)[1][0].fields["value"] == 0x80050033


def test_a_mail_that_was_kept_as_it_was_posted():
    facts, events = read(SAMPLES / "kvmmmu-quoted-and-wrapped.mail.txt")
    _, whole = read(SAMPLES / "kvmmmu-linux6.6.ftrace.txt")
    assert events == whole[: len(events)]
    assert len(events) == 14
    assert facts.is_complete


def test_a_page_as_the_mbec_series_prints_it(tmp_path):
    line = "kvm_mmu_get_page: sp gen 0 gfn 5200 l4 8-byte q0 wux- nxe ad root 0 sync new\n"
    (event,) = read_text(tmp_path, line)[1]
    assert (event.fields["level"], event.fields["access"], event.fields["created"]) == (4, 7, 1)
    line = "kvm_mmu_sync_page: sp gen 0 gfn 1 l1 8-byte q0 wuxU !mbec nxe ad root 0 unsync\n"
    assert read_text(tmp_path, line)[1][0].fields["unsync"] == 1
    line = "kvm_entry: vcpu 1, rip 0x401000 intr_info 0x80000b0e error_code 0x4\n"
    assert read_text(tmp_path, line)[1][0].fields == {"vcpu": 1, "rip": 0x401000}


def test_an_old_plugin_prints_levels_of_another_kernel_which_are_not_taken(tmp_path):
    line = " q-1 [000] 1.0: kvm_mmu_get_page: new sp gfn 5200 1/4 q0 --- !pge !nxe root 0 sync\n"
    (event,) = read_text(tmp_path, line)[1]
    assert event.fields["gfn"] == 0x5200
    assert "level" not in event.fields
    assert "access" not in event.fields
