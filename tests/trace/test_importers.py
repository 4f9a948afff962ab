"""The registry: each importer recognises what it converts, and says what it needs and loses."""

import io
import itertools

import pytest

from refault.errors import ImportFailed
from refault.trace import TraceReader
from refault.trace.importers.recognition import READABLE, Kind, look
from refault.trace.importers.registry import IMPORTERS, PTT, VECTOR, Wanted, importer_of

VECTOR_TEXT = b'["vm",1,0]\n["mem",0,0,64]\n["boot",0,0,0,0,0]\n["ld",0,4096,0]\n'


def test_no_two_importers_take_the_same_file():
    for first in (VECTOR_TEXT, b"PTTRACE\0" + bytes(56)):
        assert sum(each.recognises(first) for each in IMPORTERS) == 1
    assert importer_of(b"") is importer_of(b"\x89RFT") is None
    names = [each.name for each in IMPORTERS]
    assert len(set(names)) == len(names)


def test_every_importer_says_what_the_trace_will_lack_and_is_told_of_where_nothing_is_read():
    assert all(each.loses for each in IMPORTERS)
    assert all(each.title in READABLE for each in IMPORTERS)


def test_a_file_is_converted_by_the_importer_it_was_recognised_by(tmp_path):
    path = tmp_path / "vector"
    path.write_bytes(VECTOR_TEXT)
    found = look(path)
    assert (found.kind, found.importer) == (Kind.IMPORTABLE, VECTOR)
    assert found.refusal().endswith(
        f"this is an operation vector; `refault import {path}` makes a trace of it"
    )
    target = io.BytesIO()
    summary = found.importer.convert(path, target, Wanted(name="v", level=1))
    target.seek(0)
    with TraceReader(target) as reader:
        kinds = list(
            itertools.chain.from_iterable(block.kind.tolist() for block in reader.blocks())
        )
    assert len(kinds) == summary.event_count == 5


def test_what_a_capture_does_not_say_must_be_said(tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(b"PTTRACE\0" + bytes(56))
    assert (
        look(path).refusal().endswith(f"`refault import {path} --ram-mib MIB` makes a trace of it")
    )
    assert "--ram-mib" in PTT.refuses(Wanted())
    assert not PTT.refuses(Wanted(ram_mib=64))
    with pytest.raises(ImportFailed, match="--ram-mib"):
        PTT.convert(path, io.BytesIO(), Wanted())
