"""Format 2: what a header may add, what it keeps without knowing it, and that old bytes stay."""

import dataclasses
import io
import struct

import msgpack
import pytest

from refault.errors import TraceCorrupt, TraceError, TraceTooLarge
from refault.trace import TraceReader
from refault.trace.format import TAG_HEADER
from refault.trace.header import pack_header
from tests.trace.files import (
    SAMPLE_ROWS,
    assembled,
    frames_of,
    read_error,
    read_rows,
    trace_bytes,
    validate,
)
from tests.trace.strategies import CAPTURE

ADDED = {
    "origin": "captured",
    "losses": ("accesses that hit the filter are not in it",),
    "provenance": {"qemu": "10.0.2", "plugin_api": 4},
}
NEWER = dataclasses.replace(CAPTURE, **ADDED)


def version_of(data):
    return struct.unpack_from("<H", data, 8)[0]


def header_of(data):
    with TraceReader(io.BytesIO(data)) as reader:
        return reader.header


def with_keys(version, **keys):
    """A trace whose header has some more keys; its checksums are right."""
    frames = frames_of(trace_bytes(SAMPLE_ROWS))
    values = msgpack.unpackb(dict(frames)[TAG_HEADER]) | keys
    return assembled([(TAG_HEADER, msgpack.packb(values)), *frames[1:]], version)


def test_a_header_without_anything_new_is_written_as_version_1():
    assert version_of(trace_bytes(SAMPLE_ROWS, CAPTURE)) == 1
    assert pack_header(CAPTURE) == pack_header(dataclasses.replace(NEWER, **_nothing()))


def _nothing():
    return {"origin": "", "losses": (), "provenance": {}}


@pytest.mark.parametrize("name", list(ADDED))
def test_each_new_fact_makes_it_version_2_and_comes_back(name):
    header = dataclasses.replace(CAPTURE, **{name: ADDED[name]})
    data = trace_bytes(SAMPLE_ROWS, header)

    assert version_of(data) == 2
    assert header_of(data) == header
    assert read_rows(data) == SAMPLE_ROWS
    assert validate(data, 11).header == header


def test_keys_of_a_later_version_are_kept_and_written_again():
    later = {"host": "kvm 7.3", "sizes": [1, 2], "nested": {"l1": "6.12", "level": 2}}
    header = dataclasses.replace(NEWER, extra=later)
    data = trace_bytes(SAMPLE_ROWS, header)

    assert header_of(data).extra == later
    assert trace_bytes(SAMPLE_ROWS, header_of(data)) == data


def test_version_1_still_takes_its_own_keys_only():
    error = read_error(with_keys(1, origin="captured"))

    assert isinstance(error, TraceCorrupt)
    assert "must be a map of" in str(error)
    assert read_error(with_keys(1, guest_mode="long5")).offset == 16


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"origin": "found"}, "header.origin must be one of"),
        ({"losses": "all"}, "header.losses must be a list"),
        ({"losses": [1]}, "header.losses must be text"),
        ({"losses": ["x"] * 65}, "header.losses has 65 entries, over the bound of 64"),
        ({"provenance": {"a": [1]}}, "header.provenance must be text"),
        ({"provenance": []}, "header.provenance must be a map"),
        ({"later": {"a": {"b": 1}}}, "header.later must be text"),
        ({"later": [[1]]}, "header.later must be text"),
        ({"later": 1.5}, "header.later must be text"),
        ({f"later{number}": 1 for number in range(65)}, "65 keys that are not known"),
    ],
)
def test_what_version_2_adds_is_bounded_and_refused_by_name(keys, message):
    error = read_error(with_keys(2, **keys))

    assert isinstance(error, TraceCorrupt | TraceTooLarge)
    assert message in str(error)
    assert error.offset == 16


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": ("tabs\tare not printable",)},
        {"provenance": {"command\x1b[2J": "x"}},
        {"extra": {"later": ["\u202e"]}},
        {"extra": {"name": "mine"}},
    ],
)
def test_a_writer_refuses_text_that_is_not_printable_and_keys_of_its_own(changes):
    with pytest.raises(TraceError):
        pack_header(dataclasses.replace(CAPTURE, **changes))


def test_tables_of_level_5_are_for_guests_that_have_them():
    rows = [(7, 0, 0, 5, 0, 0x2000, 0), (2, 0, 0, 0x53, 1, 0x2008, 7), (9, 0, 0, 1, 0, 0x2000, 5)]
    deep = dataclasses.replace(CAPTURE, guest_mode="long5")
    data = trace_bytes(rows, deep)

    assert version_of(data) == 2
    assert read_rows(data) == rows
    for row in rows:
        with pytest.raises(TraceCorrupt):
            trace_bytes([row], CAPTURE)
