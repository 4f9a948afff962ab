import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.catalogue import (
    GOLDEN_PATCHES,
    SEED_SERIES,
    Parameters,
    PatchSet,
    Schedule,
    patches,
    prefix_label,
    prefixes,
    resolve,
    variant_from_golden_name,
)
from refault.errors import (
    CatalogueError,
    ContradictingPatches,
    MissingRequirement,
    UnknownBase,
    UnknownPatch,
)

BASE = {
    "zap_return": 0,
    "hash_restart": 0,
    "limit_loop": 0,
    "parent_stop": 0,
    "unsync_clear": 0,
    "cr4_write": 0,
    "role_cr4_pge": 1,
    "sync_scope": 0,
}
P2 = BASE | {"zap_return": 1, "hash_restart": 1, "limit_loop": 1}
# Written out from the description of the golden variants.
GOLDEN_KNOBS = {
    "base": BASE,
    "p2": P2,
    "p2alt": BASE | {"hash_restart": 2, "limit_loop": 2},
    "rel34": P2 | {"limit_loop": 3},
    "p3": P2 | {"parent_stop": 1},
    "p3count": P2 | {"parent_stop": 2},
    "p3fix": P2 | {"parent_stop": 2, "unsync_clear": 1},
    "p4": P2 | {"cr4_write": 1},
    "p4r": P2 | {"cr4_write": 2, "role_cr4_pge": 0},
    "p6": P2 | {"sync_scope": 1},
    "series": P2 | {"parent_stop": 1, "cr4_write": 1, "sync_scope": 1},
}


def resolved(*patch_ids, **parameters):
    return resolve(PatchSet(patches=patch_ids, parameters=Parameters(**parameters)))


@pytest.mark.parametrize("name", GOLDEN_KNOBS)
def test_a_golden_name_is_the_machine_the_golden_results_describe(name):
    variant = variant_from_golden_name(name)
    assert variant.knobs == GOLDEN_KNOBS[name]
    assert variant.golden_name == variant.short_name == name
    assert GOLDEN_PATCHES.keys() == GOLDEN_KNOBS.keys()


def test_the_prefixes_of_the_seed_series_have_the_real_code_results_the_golden_data_has():
    variants = [resolve(prefix) for prefix in prefixes(PatchSet(patches=SEED_SERIES))]
    assert [variant.golden_name for variant in variants] == [
        *("base", "base", "p2", "p3", None, None, "series")
    ]
    assert variants[4].knobs == P2 | {"parent_stop": 1, "cr4_write": 1}
    assert variants[4].short_name == "p2+p3+p4"


def test_patch_sets_that_make_the_same_machine_are_one_variant():
    variants = [resolve(prefix) for prefix in prefixes(PatchSet(patches=SEED_SERIES))]
    digests = [variant.digest for variant in variants]
    assert digests[0] == digests[1]
    assert digests[4] == digests[5]
    assert len(set(digests)) == 5


def test_prefixes_are_cumulative_and_keep_base_and_parameters():
    parameters = Parameters(page_limit=128)
    series = PatchSet(patches=SEED_SERIES, parameters=parameters)
    found = prefixes(series)
    assert [prefix.patches for prefix in found] == [SEED_SERIES[:n] for n in range(7)]
    assert {prefix.parameters for prefix in found} == {parameters}
    assert [prefix_label(prefix) for prefix in found] == [
        *("base", "1", "1-2", "1-3", "1-4", "1-5", "1-6")
    ]


def test_digests_stay_what_they_were():
    # Results are stored under them: a change here makes every stored result unfindable.
    assert variant_from_golden_name("base").digest == (
        "bbb2a4264b9a09b7979de8f6e66a60ee7134df68413ea8f22c266e0489558989"
    )
    assert variant_from_golden_name("series").digest == (
        "0c56b9e20a91f1615cda2e03e0ecf193ec750b1e3ea280faa5e63fb37c67b274"
    )
    limited = variant_from_golden_name("p2", Parameters(Schedule(400, 64, 32768), bypass=1))
    assert limited.digest == "260f51a8171d7ab866d8b17681b5165d0f6255acad2767d1886540284977fc13"


def test_every_parameter_makes_another_variant():
    variants = [
        resolved(),
        resolved(page_limit=64),
        resolved(page_limit=Schedule(400, 64, 32768)),
        resolved(page_limit=Schedule(64, 400, 32768)),
        resolved(bypass=0),
        resolved(bypass=1),
        resolved(host_page_level=2),
        resolved(tlb=1),
    ]
    assert len({variant.digest for variant in variants}) == len(variants)
    assert {variant.golden_name for variant in variants} == {"base"}


def test_a_name_says_base_patches_and_unusual_parameters():
    assert resolved("zap-account", "parent-stop-bit").name == (
        "v2.6.34-pre +zap-account +parent-stop-bit"
    )
    variant = resolved("zap-merged", page_limit=Schedule(400, 64, 32768), bypass=1)
    assert variant.name == "v2.6.34-pre +zap-merged page-limit=400/64/32768 bypass=1"
    assert variant.short_name == "rel34 page-limit=400/64/32768 bypass=1"


def test_two_forms_of_patch_2_contradict_and_the_message_names_both_and_the_knob():
    with pytest.raises(ContradictingPatches, match=r"zap-account and zap-restart .*hash_restart"):
        resolved("zap-account", "zap-restart")
    with pytest.raises(ContradictingPatches, match=r"zap-merged and zap-account .*zap_return"):
        resolved("zap-merged", "zap-account")


def test_patch_4_contradicts_its_repaired_form():
    with pytest.raises(ContradictingPatches, match=r"cr4-posted and cr4-store-norole .*cr4_write"):
        resolved("zap-account", "cr4-posted", "cr4-store-norole")


def test_a_patch_twice_is_refused():
    with pytest.raises(ContradictingPatches, match=r"sp-flags-word stands in the set twice"):
        resolved("sp-flags-word", "sp-flags-word")


@pytest.mark.parametrize(
    ("patch_ids", "message"),
    [
        (("parent-stop-bit",), "parent-stop-bit sits on zap-account; put zap-account before it"),
        (("cr4-posted",), "put zap-account before it \\(or zap-restart or zap-merged\\)"),
        (("unsync-list-global", "zap-account"), "move zap-account before it"),
        (("zap-account", "unsync-clear-exact"), "sits on parent-stop-count"),
        (
            ("zap-account", "parent-stop-bit", "unsync-clear-exact"),
            "sits on parent-stop-count",
        ),
    ],
)
def test_a_patch_without_what_it_sits_on_is_refused_by_name(patch_ids, message):
    with pytest.raises(MissingRequirement, match=message):
        resolved(*patch_ids)


def test_another_form_of_patch_2_carries_the_later_patches_without_a_real_code_result():
    variant = resolved("zap-merged", "parent-stop-bit")
    assert variant.golden_name is None
    assert variant.short_name == "p2merged+p3"


def test_what_is_not_in_the_catalogue_is_named_with_the_nearest_word():
    with pytest.raises(UnknownPatch, match=r"'zap-acount' .*did you mean zap-account\?"):
        resolved("zap-acount")
    with pytest.raises(UnknownBase, match=r"'v2\.6\.34' .*did you mean v2\.6\.34-pre\?"):
        resolve(PatchSet(base="v2.6.34"))
    with pytest.raises(UnknownPatch, match="'p5' is no golden variant"):
        variant_from_golden_name("p5")


@given(st.lists(st.sampled_from([patch.id for patch in patches()]), max_size=6, unique=True))
def test_a_set_either_resolves_to_exactly_its_knobs_or_is_refused(patch_ids):
    by_id = {patch.id: patch for patch in patches()}
    knobs = [name for patch_id in patch_ids for name in by_id[patch_id].knobs]
    try:
        variant = resolved(*patch_ids)
    except CatalogueError as error:
        assert any(patch_id in str(error) for patch_id in patch_ids)  # noqa: PT017
        return
    assert len(knobs) == len(set(knobs))
    expected = dict(BASE)
    for patch_id in patch_ids:
        expected |= by_id[patch_id].knobs
    assert variant.knobs == expected
    assert resolve(variant.patch_set) == variant
