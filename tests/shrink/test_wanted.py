"""What is to be kept, read from the words of ``--keep``."""

import pytest

from refault.catalogue import patch_set_from_text, resolve
from refault.errors import CatalogueError, InvalidParameter
from refault.shrink.wanted import wanted_of


def wanted(text):
    return wanted_of(text, lambda words: resolve(patch_set_from_text(words)))


@pytest.mark.parametrize(
    ("text", "how", "name", "labels"),
    [
        ("finding:missed-fault@p3", "finding", "missed-fault", ("p3",)),
        ("finding:use-after-free@base", "finding", "use-after-free", ("base",)),
        ("finding:F-U1@p3,page-limit=64", "check", "F-U1", ("p3,page-limit=64",)),
        ("diverges:base,p3", "diverges", "", ("base", "p3")),
        ("diverges:base,tlb=1,p3,bypass=1", "diverges", "", ("base,tlb=1", "p3,bypass=1")),
        ("counter:hw_flush:p3<series", "counter", "hw_flush", ("p3", "series")),
    ],
)  # fmt: skip
def test_each_form_is_read(text, how, name, labels):
    found = wanted(text)
    assert (found.how, found.name, found.labels) == (how, name, labels)
    assert len(found.variants) == len(labels)


def test_the_reference_of_a_finding_is_its_base_with_the_same_parameters():
    found = wanted("finding:F-U1@p3,page-limit=64").reference
    assert resolve(found).digest == resolve(patch_set_from_text("base,page-limit=64")).digest
    assert wanted("finding:F-U1@base").reference is None
    assert wanted("diverges:base,p3").reference is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "finding",
        "finding:missed-fault",
        "finding:@p3",
        "finding:missed-fault@",
        "finding:missed@p3",
        "finding:F-U9@p3",
        "diverges:base",
        "diverges:base,p3,p4",
        "diverges:tlb=1,p3",
        "diverges:,p3",
        "diverges:base,base",
        "counter:exits",
        "counter:exits:base",
        "counter:exits:base<",
        "counter::base<p3",
        "counter:exits:base<base",
        "keeps:base,p3",
        "finding:missed-fault@nothing",
    ],
)
def test_what_is_no_property_is_refused(text):
    with pytest.raises(CatalogueError):
        wanted(text)


def test_an_unknown_kind_is_met_with_those_there_are():
    with pytest.raises(InvalidParameter, match=r"missed-fault.*use-after-free.*F-S1 to F-D3"):
        wanted("finding:missed@p3")
