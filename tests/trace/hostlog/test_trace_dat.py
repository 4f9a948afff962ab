"""trace.dat files of every shape, made here: what went in comes out."""

import gzip
import io
import itertools
import struct
from pathlib import Path

import pytest

from refault.errors import ImportFailed
from refault.trace.hostlog.events import LogFacts
from refault.trace.hostlog.roles import Roles
from refault.trace.hostlog.tracedat.reader import TraceDat
from tests.trace.hostlog.making import Maker, guest
from tests.trace.hostlog.reading import read

SHAPES = [
    shape
    for shape in itertools.product((6, 7), ("little", "big"), (8, 4), ("none", "zlib", "zstd"))
    if shape[0] == 7 or shape[3] == "none"
]
RENAMED = {"fault_address": "address", "addr": "address", "pferr": "error_code", "val": "value",
           "rw": "write", "vcpu_id": "vcpu", "buf": "text"}  # fmt: skip


def of_bytes(data):
    facts = LogFacts()
    return facts, list(TraceDat(Path("x.dat"), io.BytesIO(data), facts).events())


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_event_comes_out_as_it_went_in(shape, absolute):
    version, order, long_bytes, compression = shape
    put = guest(120)
    data = Maker(
        version=version, order=order, long_bytes=long_bytes, compression=compression,
        absolute=absolute,
    ).make(put)  # fmt: skip
    facts, events = of_bytes(data)

    put = [event for event in put if event[3] != "sched_switch"]
    assert [event[:4] for event in put] == [
        (event.time_ns, event.cpu, event.thread, event.name) for event in events
    ]
    for (*_, values), event in zip(put, events, strict=True):
        for key, value in values.items():
            if key != "role":
                assert event.fields[RENAMED.get(key, key)] == value
            else:
                assert (event.fields["level"], event.fields["access"]) == (1, 7)
    assert (facts.form, facts.kernel) == (f"trace.dat {version}", "6.6.0")
    assert facts.is_complete


def test_lost_events_are_counted_wherever_the_file_tells_of_them():
    put = guest(300)
    facts, events = of_bytes(Maker(lost={(0, 1): 7, (1, 1): 0, (1, 2): 5}).make(put))
    assert len(events) == sum(event[3] != "sched_switch" for event in put)
    assert (facts.lost_count, facts.lost_places, facts.is_complete) == (12, 1, False)
    assert facts.gaps() == (
        "12 events were lost and events were lost in 1 places, without a number"
    )
    facts, _ = of_bytes(Maker(lost={(0, 0): 4}, stats="CPU: 0\noverrun: 90\n").make(put))
    assert facts.lost_count == 90


def of_kvm(events):
    return [event for event in events if event[3] != "sched_switch"]


def others(events):
    return [event for event in events if event[3] == "sched_switch"]


@pytest.mark.parametrize("shape", SHAPES)
def test_events_of_an_instance_are_read_wherever_they_are(shape):
    version, order, long_bytes, compression = shape
    put = guest(60)
    made = Maker(version=version, order=order, long_bytes=long_bytes, compression=compression)
    whole = of_bytes(made.make(put))[1]
    for top, instances in (
        (of_kvm(put), {"other": others(put)}),
        (others(put), {"kvm": of_kvm(put)}),
        (others(put), {"none": others(put[:9]), "kvm": of_kvm(put)}),
    ):
        assert of_bytes(made.make(top, instances))[1] == whole


@pytest.mark.parametrize("version", [6, 7])
def test_an_event_in_two_buffers_would_count_twice_and_is_refused(tmp_path, version):
    put = guest(6)
    (tmp_path / "x.dat").write_bytes(Maker(version=version).make(put, {"mine": of_kvm(put)}))
    with pytest.raises(ImportFailed, match=r"kvm_entry .*the main one and mine.* split --top"):
        read(tmp_path / "x.dat")


def test_buffers_whose_clocks_do_not_compare_are_refused():
    put = guest(6)
    data = Maker(version=7).make(others(put), {"kvm": of_kvm(put)}, {"kvm": "mono"})
    with pytest.raises(ImportFailed, match="the clocks local and mono"):
        of_bytes(data)


@pytest.mark.parametrize("version", [6, 7])
def test_times_are_told_as_trace_cmd_report_tells_them(version):
    put = guest(6)
    options = [
        (1, b"0x3b9aca00\0"),  # --date: microseconds
        (7, b"-500\0"),  # --ts-offset: nanoseconds
        (14, struct.pack("<IIQ", 3, 1, 0)),  # a TSC: multiplier and shift
        (12, bytes(40)), (9, b"3.1\0"), (77, b"of a later trace-cmd"), (15, b""),
    ]  # fmt: skip
    plain = of_bytes(Maker(version=version).make(put))[1]
    told = of_bytes(Maker(version=version, more_options=options).make(put))[1]
    assert [event.time_ns for event in told] == [
        (event.time_ns * 3 >> 1) + 10**12 - 500 for event in plain
    ]
    assert [event._replace(time_ns=0) for event in told] == [
        event._replace(time_ns=0) for event in plain
    ]


def test_an_option_may_say_another_number_of_cpus_than_the_head():
    put = guest(30)
    data = Maker(said_cpus=1, more_options=[(8, struct.pack("<I", 2))]).make(put)
    assert of_bytes(data)[1] == of_bytes(Maker().make(put))[1]


def test_a_cpu_without_pages_and_pages_of_other_sizes_are_read():
    put = [(time, 3 * cpu, *rest) for time, cpu, *rest in guest(60)]
    whole = of_bytes(Maker().make(put))[1]
    assert {event.cpu for event in whole} == {0, 3}
    for version in (6, 7):
        for page_bytes in (1024, 16384, 65536):
            data = Maker(version=version, page_bytes=page_bytes).make(put)
            assert of_bytes(data)[1] == whole


def test_the_text_of_a_latency_tracer_is_refused_in_version_7_too():
    data = Maker(version=7, more_options=[(22, bytes(8) + b"\0local\0")]).make([])
    with pytest.raises(ImportFailed, match="the text of a latency tracer"):
        of_bytes(data)


def test_every_kind_of_loss_that_a_cpu_counts_is_told():
    stats = "CPU: 0\nentries: 9\noverrun: 90\ncommit overrun: 5\ndropped events: 2\n"
    facts, _ = of_bytes(Maker(stats=stats).make(guest(3)))
    assert facts.lost_count == 97


def test_a_file_that_was_not_finished_is_said_to_be_so():
    data = bytearray(Maker(version=7).make(guest(3)))
    data[24:32] = bytes(8)  # where the options would be
    with pytest.raises(ImportFailed, match="trace-cmd did not finish"):
        of_bytes(bytes(data))


def test_a_packed_file_is_unpacked_first(tmp_path):
    data = Maker(version=7, compression="zstd").make(guest(20))
    (tmp_path / "a.dat").write_bytes(data)
    (tmp_path / "b").write_bytes(gzip.compress(data))
    assert read(tmp_path / "a.dat") == read(tmp_path / "b")


def test_without_a_kernel_version_the_meaning_of_one_bit_is_left_out():
    _, events = of_bytes(Maker(release="").make(guest(3)))
    fields = next(event.fields for event in events if event.name == "kvm_mmu_get_page")
    assert (fields["level"], fields["access"]) == (1, 7)
    assert "pte_bytes" not in fields


@pytest.mark.parametrize(
    ("release", "print_format", "word", "fields"),
    [
        ("2.6.34", "", 4 | 4 << 4 | 2 << 8 | 6 << 17, (4, 2, 0, 6, 0, 8)),
        ("2.6.34", "", 2 | 1 << 4 | 1 << 16, (1, 0, 1, 0, 0, 4)),
        ("2.6.38", "", 3 | 1 << 4 | 3 << 5 | 7 << 14 | 1 << 17, (3, 3, 0, 7, 1, 8)),
        ("3.6.11-4.fc17", "", 1 | 1 << 5 | 1 << 13 | 3 << 14, (1, 1, 1, 3, 0, 4)),
        ("3.19.0", "", 1 | 1 << 4 | 7 << 8 | 1 << 12, (1, 0, 0, 7, 0, 8)),
        ("4.19.0", "", 2 | 1 << 4 | 1 << 7 | 7 << 8, (2, 0, 1, 7, 0, 8)),
        ("5.10.0-18-amd64", "", 4 | 1 << 4 | 7 << 8 | 1 << 11, (4, 0, 0, 7, 1, 8)),
        ("6.6.0", "", 4 | 7 << 8, (4, 0, 0, 7, 0, 8)),
        ("6.6.0", "", 1 | 1 << 4 | 1 << 5 | 7 << 8, (1, 1, 0, 7, 0, 4)),
        ("6.6.0", "role.has_4_byte_gpte", 1 | 7 << 8, (1, 0, 0, 7, 0, 8)),
        ("4.18.0-rhel", "role.gpte_is_8_bytes", 1 | 1 << 4 | 7 << 8, (1, 0, 0, 7, 0, 8)),
        ("6.17.0", 'has_4_byte_gpte "----"', 1 | 15 << 8 | 1 << 12, (1, 0, 0, 15, 1, 8)),
    ],
)  # fmt: skip
def test_a_role_is_decoded_by_its_kernel(release, print_format, word, fields):
    names = ("level", "quadrant", "direct", "access", "invalid", "pte_bytes")
    assert Roles(release, print_format).decode(word) == dict(zip(names, fields, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:10] + b"7" * 9000, "has no end"),
        (lambda data: data[:12], "the file ends inside"),
        (lambda data: data.replace(b"tracing6", b"tracing9"), "versions 6 and 7 can be read"),
        (lambda data: data[:13] + b"\x09" + data[14:], "a long is said to have 9 bytes"),
        (lambda data: data[:14] + b"\xff" * 4 + data[18:], "pages are said to have 4294967295"),
        (lambda data: data.replace(b"header_page\0", b"header_page\0\xff\xff\xff\xff\xff"),
         "over the bound"),
        (lambda data: data.replace(b"flyrecord\0", b"latency  \0"), "no events; record"),
        (lambda data: data[:-5000], "are said to be bytes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(change, message):
    with pytest.raises(ImportFailed, match=message) as error:
        of_bytes(change(Maker().make(guest(40))))
    assert str(error.value).startswith("x.dat: ")
