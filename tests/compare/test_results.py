import hashlib
import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.errors import ResultError
from refault.results import COUNTERS, SEMANTICS, Finding, RunResult
from tests.builders import make_finding, make_result

WORDS = st.none() | st.integers(0, 2**64 - 1)
FINDINGS = st.builds(
    Finding,
    kind=st.text(min_size=1),
    event_index=st.integers(0, 2**40),
    operation_index=st.integers(0, 2**40),
    vcpu=st.none() | st.integers(0, 64),
    gva=WORDS,
    got=WORDS,
    want=WORDS,
    message=st.text(),
)
INT64 = st.integers(-(2**63), 2**63 - 1)
RESULTS = st.builds(
    make_result,
    counters=st.dictionaries(st.sampled_from(COUNTERS), INT64),
    semantics=st.dictionaries(st.sampled_from(SEMANTICS), INT64),
    truncated=st.booleans(),
    findings=st.lists(FINDINGS, max_size=3).map(tuple),
    finding_count=st.integers(3, 2**40),
    stopped=st.none() | FINDINGS,
    skipped=st.dictionaries(st.text(), st.integers(0, 2**40), max_size=3),
)


@given(RESULTS)
def test_a_result_survives_json_and_msgpack_with_its_digest(result):
    from_json = RunResult.from_dict(json.loads(json.dumps(result.to_dict())))
    assert from_json == result
    assert from_json.digest == result.digest
    assert RunResult.from_bytes(result.to_bytes()) == result


@given(RESULTS)
def test_the_bytes_do_not_depend_on_the_order_of_keys(result):
    body = result.to_dict()
    backwards = {
        key: dict(reversed(value.items())) if isinstance(value, dict) else value
        for key, value in reversed(body.items())
    }
    again = RunResult.from_dict(backwards)
    assert again.to_bytes() == result.to_bytes()
    assert list(again.counters) == list(COUNTERS)
    assert list(again.semantics) == list(SEMANTICS)


def test_the_digest_is_the_sha256_of_msgpack_with_sorted_keys():
    result = make_result(findings=(make_finding(),))
    body = result.to_dict()

    def in_order(value):
        if isinstance(value, dict):
            return {key: in_order(value[key]) for key in sorted(value)}
        return [in_order(item) for item in value] if isinstance(value, list) else value

    expected = hashlib.sha256(msgpack.packb(in_order(body))).hexdigest()
    assert result.digest == expected


@pytest.mark.parametrize(
    "change",
    [
        {"counters": {"exits": 1}},
        {"semantics": {"stale": 1}},
        {"outcomes": "other"},
        {"pages": "other"},
        {"trace": "other"},
        {"variant": "other"},
        {"simulator": "other"},
        {"truncated": True},
        {"operation_count": 1},
        {"finding_count": 1},
        {"skipped": {"device accesses": 1}},
        {"stopped": make_finding()},
    ],
)
def test_any_change_changes_the_digest(change):
    assert make_result(**change).digest != make_result().digest


def test_addresses_above_2_to_53_are_text_in_json_and_keep_every_bit():
    finding = make_finding(gva=0xFFFF_C900_005B_3F48)
    assert finding.to_dict()["gva"] == "0xffffc900005b3f48"
    assert Finding.from_dict(finding.to_dict()).gva == 0xFFFF_C900_005B_3F48


def without(name):
    def change(body):
        del body[name]

    return change


def setting(*path, value):
    def change(body):
        for key in path[:-1]:
            body = body[key]
        body[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("version"), r"result\.version: this program reads version 1, .*None"),
        (setting("version", value=2), "run it again"),
        (without("counters"), "result: counters absent"),
        (setting("colour", value=1), "result: colour unknown"),
        (setting("trace_digest", value="12ab"), "trace_digest: expected a sha256"),
        (setting("trace_digest", value="A" * 64), "trace_digest: expected a sha256"),
        (setting("outcome_digest", value=""), "outcome_digest: expected a word"),
        (setting("event_count", value=-1), "event_count: expected a count, got -1"),
        (setting("event_count", value=1.0), r"event_count: expected a count, got 1\.0"),
        (setting("event_count", value=True), "event_count: expected a count, got True"),
        (setting("truncated", value=0), "truncated: expected true or false"),
        (setting("counters", value=[]), "counters: expected an object, got list"),
        (setting("counters", "exits", value="1"), r"counters\.exits: expected a 64-bit integer"),
        (setting("counters", "exits", value=2**63), r"counters\.exits"),
        (setting("counters", "entries", value=1), "counters: entries unknown"),
        (setting("semantics", "stale", value=None), r"semantics\.stale"),
        (setting("skipped", value={"device": -1}), r"skipped\.device: expected a count"),
        (setting("skipped", value=3), "skipped: expected an object"),
        (setting("findings", value={}), "findings: expected a list"),
        (setting("findings", value=[3]), "finding: expected an object, got int"),
        (setting("findings", 0, "gva", value=4096), r"finding\.gva: expected a hexadecimal"),
        (setting("findings", 0, "got", value="0x1" + "0" * 16), r"finding\.got: expected an uns"),
        (setting("findings", 0, "kind", value=""), r"finding\.kind: expected a word"),
        (setting("findings", 0, "vcpu", value="0"), r"finding\.vcpu: expected a count"),
        (setting("findings", 0, "message", value=None), r"finding\.message: expected text"),
        (setting("finding_count", value=0), "finding_count: 0 is less than the 1 kept"),
        (setting("stopped", value="yes"), "finding: expected an object, got str"),
    ],
)
def test_a_stored_result_that_lies_is_refused_naming_the_field(change, message):
    body = json.loads(json.dumps(make_result(findings=(make_finding(),)).to_dict()))
    change(body)
    with pytest.raises(ResultError, match=message):
        RunResult.from_dict(body)


@pytest.mark.parametrize("body", [None, [], "x", 3])
def test_what_is_no_object_is_refused(body):
    with pytest.raises(ResultError, match="result: expected an object"):
        RunResult.from_dict(body)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81", b"\x93\x01"])
def test_bytes_that_are_no_msgpack_are_refused(data):
    with pytest.raises(ResultError, match="result: not msgpack"):
        RunResult.from_bytes(data)
