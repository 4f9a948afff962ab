import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.catalogue import (
    NAMED,
    Parameters,
    PatchSet,
    Schedule,
    patch_set_from_text,
    patch_set_to_text,
    resolve,
)
from refault.errors import InvalidParameter, UnknownPatch

LIMITS = st.integers(1, 1 << 20)
PARAMETERS = st.builds(
    Parameters,
    page_limit=st.none() | LIMITS | st.builds(Schedule, LIMITS, LIMITS, st.integers(1, 1 << 40)),
    bypass=st.sampled_from([None, 0, 1]),
    host_page_level=st.sampled_from([1, 2, 3]),
    tlb=st.sampled_from([0, 1]),
)


@pytest.mark.parametrize(
    ("given_values", "message"),
    [
        ({"page_limit": 0}, "page_limit: 0 is outside 1 to 1048576"),
        ({"page_limit": -5}, "page_limit"),
        ({"page_limit": (1 << 20) + 1}, "page_limit"),
        ({"page_limit": 64.0}, "page_limit: expected a whole number"),
        ({"page_limit": True}, "page_limit: expected a whole number"),
        ({"page_limit": "64"}, "page_limit: expected a whole number"),
        ({"bypass": 2}, "bypass: 2 is outside 0 to 1"),
        ({"bypass": "on"}, "bypass"),
        ({"host_page_level": 0}, "host_page_level"),
        ({"host_page_level": 4}, "host_page_level"),
        ({"host_page_level": None}, "host_page_level"),
        ({"tlb": 2}, "tlb: 2 is outside 0 to 1"),
        ({"tlb": None}, "tlb"),
    ],
)
def test_a_parameter_outside_its_range_is_refused_by_name(given_values, message):
    with pytest.raises(InvalidParameter, match=message):
        Parameters(**given_values)
    with pytest.raises(InvalidParameter, match=message):
        Parameters.from_dict(given_values)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "parameters: expected an object, got NoneType"),
        ([], "parameters: expected an object, got list"),
        ({"pagelimit": 3}, "parameters: pagelimit unknown; there are page_limit"),
        ({"page_limit": {"first": 400}}, "page_limit: a schedule also needs then and every"),
        ({"page_limit": {"first": 4, "then": 0, "every": 9}}, r"page_limit\.then: 0 is outside"),
        ({"page_limit": {"first": 4, "then": 4, "every": 0}}, r"page_limit\.every: 0 is outside"),
        ({"page_limit": {"first": 4, "then": 4, "every": 1, "at": 2}}, "page_limit: at unknown"),
        ({"page_limit": [400, 64, 32768]}, "page_limit: expected a whole number"),
    ],
)
def test_a_body_that_is_not_parameters_is_refused_naming_the_field(body, message):
    with pytest.raises(InvalidParameter, match=message):
        Parameters.from_dict(body)


@given(PARAMETERS)
def test_parameters_survive_json(parameters):
    assert Parameters.from_dict(json.loads(json.dumps(parameters.to_dict()))) == parameters


def test_what_a_body_leaves_out_has_its_default():
    assert Parameters.from_dict({}) == Parameters(None, None, 1)


@given(st.sampled_from(sorted(NAMED)), PARAMETERS)
def test_a_patch_set_survives_its_line_of_text(name, parameters):
    wanted = dataclasses.replace(NAMED[name], parameters=parameters)
    assert patch_set_from_text(patch_set_to_text(wanted)) == wanted
    assert patch_set_from_text(",".join((name, *parameters.to_words()))) == wanted


@pytest.mark.parametrize(
    ("text", "patch_ids"),
    [
        ("base", ()),
        ("v2.6.34-pre", ()),
        ("p3", ("zap-account", "parent-stop-bit")),
        ("p2+p3+p4", ("zap-account", "parent-stop-bit", "cr4-posted")),
        ("p2 + p3count + fix", ("zap-account", "parent-stop-count", "unsync-clear-exact")),
        ("v2.6.34-pre+zap-merged", ("zap-merged",)),
    ],
)
def test_a_line_names_patches_by_golden_name_id_or_short_name(text, patch_ids):
    assert patch_set_from_text(text) == PatchSet(patches=patch_ids)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", UnknownPatch, "patch '' is not in the catalogue"),
        ("p33", UnknownPatch, "'p33'.*p3fix"),
        ("p2++p3", UnknownPatch, "patch ''"),
        ("p3,limit=3", InvalidParameter, "limit unknown"),
        ("p3,page-limit", InvalidParameter, "page_limit: expected a whole number, got ''"),
        ("p3,page-limit=3/4", InvalidParameter, "neither a number nor a schedule"),
        ("p3,page-limit=4/x/5", InvalidParameter, r"page_limit\.then"),
        ("p3,page-limit=٣", InvalidParameter, "expected a whole number"),
        ("p3,bypass=1,bypass=0", InvalidParameter, "bypass: given twice"),
    ],
)
def test_a_line_that_means_nothing_is_refused_naming_the_part(text, error, message):
    with pytest.raises(error, match=message):
        patch_set_from_text(text)


def test_a_variant_as_json_can_be_resolved_again():
    variant = resolve(PatchSet(patches=("zap-account",), parameters=Parameters(page_limit=64)))
    body = json.loads(json.dumps(variant.to_dict()))
    again = PatchSet(body["base"], tuple(body["patches"]), Parameters.from_dict(body["parameters"]))
    assert resolve(again) == variant
    assert variant.patch_set.to_dict() == {
        "base": "v2.6.34-pre",
        "patches": ["zap-account"],
        "parameters": {"page_limit": 64, "bypass": None, "host_page_level": 1, "tlb": 0},
    }
