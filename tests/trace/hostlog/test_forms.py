"""One log in every form that tools print: the same events, or an error; never a count that lies."""

import pytest

from refault.errors import ImportFailed
from tests.trace.hostlog.forms import BODIES, FORMS, MAIL, seconds, text_of, time_of, wrapped
from tests.trace.hostlog.reading import read_text

NAMES = [body.split(":")[0] for body in BODIES]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_read_whole(tmp_path, name):
    _, _, thread, cpu, unit = FORMS[name]
    facts, events = read_text(tmp_path, text_of(name))

    assert [event.name for event in events] == NAMES
    assert {(event.thread, event.cpu, event.vcpu) for event in events} == {(thread, cpu, 0)}
    times = [event.time_ns for event in events]
    assert times == sorted(times)
    if unit is not None:
        assert times == [time_of(place, unit) for place in range(len(BODIES))]
    assert facts.is_complete
    assert events[1].fields == {"write": 1, "cr": 3, "value": 0x5200000}
    assert events[2].fields["address"] == 0x400000
    assert events[2].fields["error_code"] == 0x14
    assert events[5].fields["gfn"] == 0x5201
    assert (events[6].fields["reason"], events[6].fields["rip"]) == ("EXCEPTION_NMI", 0x401000)


@pytest.mark.parametrize("mark", ["> ", "", "| "])
@pytest.mark.parametrize("width", [50, 60, 72])
def test_wrapped_lines_are_joined_whether_the_rest_is_quoted_or_not(tmp_path, width, mark):
    lines = [
        wrapped(f"> CPU 0/KVM-4242    [003] .....  {seconds(place)}: {body}", width, mark)
        for place, body in enumerate(BODIES)
    ]
    facts, events = read_text(tmp_path, MAIL + "\n".join(lines) + "\n")
    assert events == read_text(tmp_path, text_of("quoted"))[1]
    assert facts.is_complete


@pytest.mark.parametrize(
    ("line", "lost", "places"),
    [
        ("CPU:3 [LOST 42 EVENTS]", 42, 0),
        ("CPU:3 [LOST EVENTS]", 0, 1),
        ("CPU: 3 [LOST 42 EVENTS]", 42, 0),
        ("CPU:3 [42 EVENTS DROPPED]", 42, 0),
        ("CPU:3 [EVENTS DROPPED]", 0, 1),
        ("mine:   CPU:3 [42 EVENTS DROPPED]", 42, 0),
        ("##### CPU 3 buffer started ####", 0, 1),
        ("# entries-in-buffer/entries-written: 7/49   #P:4", 42, 0),
        (" CPU 0/KVM  4242 [003] 1235.000000: PERF_RECORD_LOST lost 42", 42, 0),
        (" CPU 0/KVM  4242 [003] 1235.000000: PERF_RECORD_LOST_SAMPLES lost 42", 42, 0),
        ("Processed 100 events and lost 42 chunks!", 42, 0),
    ],
)
def test_lost_events_are_told_in_every_words(tmp_path, line, lost, places):
    facts, events = read_text(tmp_path, text_of("irq columns", {3: [line]}))
    assert len(events) == len(BODIES)
    assert (facts.lost_count, facts.lost_places, facts.is_complete) == (lost, places, False)


def test_a_report_of_several_buffers_is_read_only_where_no_event_counts_twice(tmp_path):
    other = "other:    qemu-1 [000]  1.000001: sched_switch: a ==> b"
    _, events = read_text(tmp_path, text_of("report of a buffer", {2: [other]}))
    assert len(events) == len(BODIES)
    for second in ("other:    qemu-1 [000]  1.000001: ", "          qemu-1 [000]  1.000001: "):
        with pytest.raises(ImportFailed, match=r"kvm_cr was recorded in two buffers or files"):
            read_text(tmp_path, text_of("report of a buffer", {4: [second + BODIES[1]]}))
    # Behind a loss trace-cmd does not repeat the name.
    lines = ["mine:  CPU:3 [EVENTS DROPPED]", f"   qemu-1 [000]  1.000001: {BODIES[1]}"]
    facts, events = read_text(tmp_path, text_of("report of a buffer", {4: lines}))
    assert (len(events), facts.lost_places) == (len(BODIES) + 1, 1)


@pytest.mark.parametrize(
    "prefix",
    ["?? 1.5 ~ ", "{3} qemu|4242|", "     0.000 ( 0.001 ms): CPU 0/KVM/4242 ", "time=1.5 cpu=3 "],
)
def test_an_event_behind_an_unknown_prefix_is_counted_and_shown(tmp_path, prefix):
    facts, events = read_text(tmp_path, text_of("irq columns", {3: [f"{prefix} {BODIES[1]}"]}))
    assert len(events) == len(BODIES)
    assert (facts.unread_count, facts.is_complete) == (1, False)
    assert facts.first_unread.startswith(prefix.strip()[:8])


def test_what_newer_kernels_say_more_is_read_over(tmp_path):
    line = " q-42 [000] d..1. 1.000001: "
    more = {
        "kvm_entry: vcpu 3, rip 0x401000 intr_info 0x80000b0e error_code 0x00000000": "rip",
        "kvm_entry: vcpu 3, rip 0x401000, inj 0x1": "rip",
        "kvm_exit: vcpu 3 reason HLT rip 0x401000 info1 0x1 info2 0x0 intr_info 0x0 error_code "
        "0x00000000 requests 0x0000000000000000": "rip",
        "kvm_page_fault: vcpu 3 rip 0x401000 address 0x0000000000401000 error_code 0x4": "address",
    }
    for text, key in more.items():
        facts, (event,) = read_text(tmp_path, f"{line}{text}\n")
        assert (event.vcpu, event.fields[key], facts.is_complete) == (3, 0x401000, True)
