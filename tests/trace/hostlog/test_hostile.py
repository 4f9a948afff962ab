"""Damaged logs: an error that names the file, or events; never more memory or time than a bound."""

import random
import time
import tracemalloc

import pytest

from refault.errors import ImportFailed
from refault.trace.importers.hostevents import import_log
from tests.trace.hostlog.forms import FORMS, text_of
from tests.trace.hostlog.making import Maker, guest
from tests.trace.hostlog.reading import SAMPLES, read, read_text

FLIPS = 60


def contents():
    yield "v6", Maker(lost={(0, 0): 3}).make(guest(30))
    for compression in ("none", "zlib", "zstd"):
        yield f"v7-{compression}", Maker(version=7, compression=compression).make(guest(30))
    top, kvm = [], []
    for event in guest(30):
        (top if event[3] == "sched_switch" else kvm).append(event)
    options = [(1, b"0x3b9aca00\0"), (14, bytes([3, 0, 0, 0, 1] + [0] * 11)), (77, b"new")]
    for version in (6, 7):
        made = Maker(version=version, more_options=options, absolute=True, order="big")
        yield f"v{version}-instances", made.make(top, {"kvm": kvm, "empty": top[:2]})
    for name in ("latency verbose", "function graph with all columns", "journal", "perf -F ip,sym",
                 "report of a buffer"):  # fmt: skip
        assert name in FORMS
        yield name, text_of(name).encode() * 9
    for name in ("ftrace", "trace-cmd-report", "trace-cmd-report-R", "perf-script"):
        yield name, (SAMPLES / f"kvmmmu-linux6.6.{name}.txt").read_bytes()
    yield "mail", (SAMPLES / "kvmmmu-quoted-and-wrapped.mail.txt").read_bytes()


CONTENTS = dict(contents())


def harmed(data, seed):
    """The data cut off, with bits flipped, with numbers that lie, spliced, or grown."""
    draw = random.Random(seed)
    data = bytearray(data)
    kind = seed % 5
    if kind == 0:
        return bytes(data[: draw.randrange(len(data))])
    first, second = sorted(draw.randrange(len(data)) for _ in range(2))
    if kind == 3:
        return bytes(data[second:] if seed % 2 else data[:first] + data[second:])
    if kind == 4:
        again = bytes(data[first : min(second, first + 4096)]) * draw.choice((1, 2, 40))
        return bytes(data[:second]) + again + bytes(data[second:])
    for _ in range(draw.choice((1, 3, 30))):
        at = draw.randrange(len(data))
        if kind == 1:
            data[at] ^= 1 << draw.randrange(8)
        else:
            data[at : at + 4] = draw.choice(
                (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\1\0\0\0")
            )
    return bytes(data)


@pytest.mark.parametrize("name", CONTENTS)
def test_harm_of_any_kind_is_an_error_or_leaves_a_trace(tmp_path, name):
    path, target = tmp_path / "log", tmp_path / "log.rft"
    begun = time.monotonic()
    for seed in range(FLIPS):
        path.write_bytes(harmed(CONTENTS[name], seed))
        target.unlink(missing_ok=True)
        try:
            import_log(path, target, level=1)
        except ImportFailed as error:
            assert str(path) in str(error)  # noqa: PT017
            assert not target.exists()
        else:
            assert target.exists()
        assert not list(tmp_path.glob("*.partial"))
        if time.monotonic() - begun > 20:
            break


def test_a_size_that_lies_takes_no_memory(tmp_path):
    data = Maker(version=7, compression="zstd").make(guest(30))
    place = (
        data.index(b"\x28\xb5\x2f\xfd") - 4
    )  # how much the first section says it decompresses to
    (tmp_path / "log").write_bytes(data[:place] + b"\xff\xff\xff\x7f" + data[place + 4 :])
    tracemalloc.start()
    try:
        with pytest.raises(
            ImportFailed, match="is said to have 2147483647 bytes when decompressed"
        ):
            read(tmp_path / "log")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_cpus_that_share_their_pages_are_refused(tmp_path):
    data = bytearray(Maker().make(guest(30)))
    place = data.index(b"flyrecord\0") + 10
    data[place + 16 : place + 32] = data[place : place + 16]
    (tmp_path / "log").write_bytes(data)
    assert read(tmp_path / "log")[0].event_count  # twice the same pages still fit into the file
    count = data.rindex(b"options  \0") - 4
    many = 200
    data[count : count + 4] = many.to_bytes(4, "little")
    data[place : place + 16 * many] = bytes(data[place : place + 16]) * many
    (tmp_path / "log").write_bytes(data)
    with pytest.raises(ImportFailed, match="more pages than the file has"):
        read(tmp_path / "log")


def test_memory_does_not_grow_with_the_log(tmp_path):
    peaks = []
    for count in (100, 1000):
        (tmp_path / "log").write_bytes(Maker(version=7, compression="zstd").make(guest(count)))
        tracemalloc.start()
        try:
            import_log(tmp_path / "log", tmp_path / "log.rft", level=1)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + (4 << 20)


def test_a_line_without_end_and_one_of_escapes_are_passed_over(tmp_path):
    line = b" \x1b[31mq\x1b]0;x\x07-1 [000] 1.0: kvm_cr: cr_write 0 = 0x1\n"
    facts, events = read_text(tmp_path, line + b"\x1b" * (3 << 20) + b"\n" + line)
    assert len(events) == 2
    facts, _ = read_text(tmp_path, line + b" q-1 [000] 1.0: kvm_cr: \x1b[2Jgarbage\n")
    assert facts.first_unread == "kvm_cr: \\x1b[2Jgarbage"
    assert not facts.is_complete


def test_long_lines_of_any_letters_take_linear_time(tmp_path):
    begun = time.monotonic()
    head = b" q-1 [000] 1.0: kvm_cr: cr_write 0 = 0x1\n"
    for letter in (b"a ", b"1 ", b"-1 ", b"> ", b"[0] ", b"kvm_cr: ", b"sp gfn 1 ", b"x=1 "):
        read_text(tmp_path, head + (letter * 20_000)[:60_000] + b"\n" + letter * 20)
        read_text(tmp_path, head + (b" " * 8 + letter * 30 + b"\n") * 300)
    assert time.monotonic() - begun < 30
