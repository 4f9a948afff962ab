import pytest

from refault.catalogue import (
    SEED_SERIES,
    NamedSet,
    Parameters,
    PatchSet,
    Schedule,
    expand,
    resolve,
)
from refault.errors import CatalogueError, ContradictingPatches, InvalidParameter, UnknownBase

SERIES = NamedSet("series", PatchSet(patches=SEED_SERIES))
BASE = NamedSet("bare", PatchSet())


def labels(expansion):
    return [column.label for column in expansion.columns]


def test_an_ablation_is_the_whole_set_and_the_set_without_each_patch():
    patches = ("zap-account", "unsync-list-vm")
    found = expand([NamedSet("two", PatchSet(patches=patches))], "ablation")
    assert labels(found) == ["two", "without zap-account", "without unsync-list-vm"]
    assert [column.variant.patches for column in found.columns] == [
        patches, ("unsync-list-vm",), ("zap-account",),
    ]  # fmt: skip
    assert found.refused == ()


def test_a_patch_that_another_sits_on_cannot_be_left_out_and_the_answer_says_so():
    patches = ("zap-return-self", "zap-batch")
    found = expand([NamedSet("s", PatchSet(patches=patches))], "ablation")
    assert labels(found) == ["s", "without zap-batch"]
    [refusal] = found.refused
    assert refusal.label == "without zap-return-self"
    assert "zap-batch sits on zap-return-self" in refusal.reason


def test_an_ablation_of_two_sets_says_whose_patch_is_missing():
    found = expand([SERIES, NamedSet("b", PatchSet(patches=("zap-account",)))], "ablation")
    assert labels(found)[0] == "series"
    assert labels(found)[-2:] == ["b", "b without zap-account"]
    assert [column.set_index for column in found.columns[-2:]] == [1, 1]


def test_a_matrix_is_every_combination_with_the_sets_varying_fastest():
    found = expand([BASE, SERIES], "matrix", {"tlb": (0, 1), "page_limit": (None, 64)})
    assert labels(found) == [
        "bare page-limit=default tlb=0", "series page-limit=default tlb=0",
        "bare page-limit=default tlb=1", "series page-limit=default tlb=1",
        "bare page-limit=64 tlb=0", "series page-limit=64 tlb=0",
        "bare page-limit=64 tlb=1", "series page-limit=64 tlb=1",
    ]  # fmt: skip
    assert found.columns[-1].variant == resolve(
        PatchSet(patches=SEED_SERIES, parameters=Parameters(page_limit=64, tlb=1))
    )


def test_an_axis_replaces_what_the_set_had_and_leaves_the_rest():
    kept = NamedSet("s", PatchSet(parameters=Parameters(host_page_level=2, tlb=1)))
    [column] = expand([kept], "matrix", {"tlb": (0,)}).columns
    assert column.variant.parameters == Parameters(host_page_level=2, tlb=0)


def test_a_matrix_over_bases_reports_the_patches_a_base_has_already():
    one = NamedSet("one", PatchSet(patches=("zap-account",)))
    found = expand([one], "matrix", {"base": ("v2.6.34-pre", "v2.6.35.6")})
    assert labels(found) == ["one base=v2.6.34-pre"]
    [refusal] = found.refused
    assert refusal.label == "one base=v2.6.35.6"
    assert "already" in refusal.reason


def test_a_schedule_is_a_value_of_an_axis():
    found = expand([BASE], "matrix", {"page_limit": (Schedule(400, 64, 32768),)})
    assert labels(found) == ["bare page-limit=400/64/32768"]


@pytest.mark.parametrize(
    ("axes", "place"),
    [
        ({}, "axes"),
        ({"tlb": ()}, "axes.tlb"),
        ({"colour": (1,)}, "colour unknown"),
        ({"page_limit": (0,)}, "page_limit"),
        ({"page_limit": tuple(range(1, 1002))}, "1,001 combinations"),
    ],
)
def test_axes_that_cannot_be_are_refused_by_name(axes, place):
    with pytest.raises(InvalidParameter, match=place):
        expand([BASE], "matrix", axes)


def test_a_base_nobody_knows_is_a_slip_and_no_refused_combination():
    with pytest.raises(UnknownBase, match=r"v2\.6\.99"):
        expand([BASE], "matrix", {"base": ("v2.6.99", "v2.6.34-pre")})


def test_axes_without_a_matrix_are_refused():
    with pytest.raises(InvalidParameter, match="plan each has none"):
        expand([BASE], "each", {"tlb": (1,)})


def test_a_matrix_of_nothing_but_refusals_is_refused_with_the_first_reason():
    one = NamedSet("one", PatchSet(patches=("zap-account",)))
    with pytest.raises(CatalogueError, match=r"every combination is refused.*already"):
        expand([one], "matrix", {"base": ("v2.6.35.6",)})


def test_a_set_asked_for_as_it_stands_must_make_a_machine():
    both = NamedSet("both", PatchSet(patches=("zap-account", "zap-merged")))
    with pytest.raises(ContradictingPatches):
        expand([both], "each")
