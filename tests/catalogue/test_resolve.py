import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.catalogue import (
    GOLDEN,
    MERGED,
    SEED_SERIES,
    Parameters,
    PatchSet,
    Schedule,
    patch_set_from_text,
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
    WrongBase,
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
    "role_layout": 0,
    "reserved_bits": 0,
    "entry_read": 0,
    "invlpg_write": 0,
    "forced_write": 0,
    "spte_overwrite": 0,
    "direct_access": 0,
    "notifier_index": 0,
    "shrink_count": 0,
    "sync_trace": 0,
    "zap_children": 0,
    "zap_commit": 0,
    "unsync_count": 0,
    "cr_reset": 0,
    "global_pages": 0,
    "sync_protect": 0,
    "write_flush": 0,
    "local_flush": 0,
    "relink_sync": 0,
    "unsync_roles": 0,
    "invlpg_scope": 0,
    "prefetch": 0,
    "write_lost": 0,
    "sync_drop": 0,
    "fault_return": 0,
    "table_write": 0,
    "root_pair": 0,
}
APRIL = {"role_layout": 1, "reserved_bits": 1, "entry_read": 1, "invlpg_write": 1}
P2 = BASE | {"zap_return": 1, "hash_restart": 1, "limit_loop": 1}
# Written out from the description of the golden variants.
GOLDEN_KNOBS = {
    "base": BASE,
    "p2": P2,
    "p2alt": BASE | {"hash_restart": 2, "limit_loop": 2},
    "rel34": P2 | {"limit_loop": 3},
    "p3": P2 | {"parent_stop": 1},
    "p3count": P2 | {"parent_stop": 2},
    "p3fix": P2 | {"parent_stop": 2, "unsync_clear": 1, "unsync_count": 1},
    "p4": P2 | {"cr4_write": 1},
    "p4r": P2 | {"cr4_write": 2, "role_cr4_pge": 0},
    "p6": P2 | {"sync_scope": 1},
    "series": P2 | {"parent_stop": 1, "cr4_write": 1, "sync_scope": 1},
}
GOLDEN_KNOBS |= {
    "apr" if name == "base" else f"apr_{name}": knobs | APRIL
    for name, knobs in GOLDEN_KNOBS.items()
    if name != "rel34"
}
GOLDEN_KNOBS |= {
    "apr_p2goto_nolist": P2 | APRIL | {"hash_restart": 2},
    "apr_p2merged": P2 | APRIL | {"limit_loop": 3},
    "apr_p3full": GOLDEN_KNOBS["p3fix"] | APRIL,
    "rel35": P2
    | APRIL
    | {
        "hash_restart": 2,
        "limit_loop": 3,
        "role_cr4_pge": 0,
        "role_layout": 2,
        "invlpg_write": 2,
        "forced_write": 1,
        "spte_overwrite": 1,
        "direct_access": 1,
        "notifier_index": 1,
        "shrink_count": 1,
        "sync_trace": 1,
    },
}
# Two ways to the same machine: on April's code both gave the same bytes.
OTHER_NAMES = {"apr_p3full": "apr_p3fix"}


def resolved(*patch_ids, **parameters):
    return resolve(PatchSet(patches=patch_ids, parameters=Parameters(**parameters)))


@pytest.mark.parametrize("name", GOLDEN_KNOBS)
def test_a_golden_name_is_the_machine_the_golden_results_describe(name):
    variant = variant_from_golden_name(name)
    assert variant.knobs == GOLDEN_KNOBS[name]
    assert variant.golden_name == variant.short_name == OTHER_NAMES.get(name, name)
    assert GOLDEN.keys() == GOLDEN_KNOBS.keys()


def test_what_became_of_the_series_has_a_name_at_three_releases():
    variants = {name: resolve(patch_set) for name, patch_set in MERGED.items()}
    assert variants["merged-2.6.34"].golden_name == "rel34"
    assert variants["merged-2.6.35"].golden_name == "rel35"
    last = variants["merged-2.6.36"]
    assert (last.golden_name, last.short_name) == (None, "merged-2.6.36")
    assert last.knobs == GOLDEN_KNOBS["rel35"] | {
        "zap_return": 2,
        "zap_commit": 1,
        "write_flush": 1,
        "local_flush": 1,
        "unsync_count": 1,
        "unsync_clear": 1,
        "parent_stop": 2,
        "sync_protect": 1,
        "cr_reset": 1,
    }


def test_the_two_halves_of_the_reviewers_patch_2_make_its_whole_in_either_order():
    halves = resolved("zap-list-empty", "zap-restart-walks")
    assert halves.golden_name == "p2alt"
    assert halves.digest == resolved("zap-restart-walks", "zap-list-empty").digest
    assert resolved("zap-list-empty").knobs == BASE | {"limit_loop": 2}
    assert resolved("zap-restart-walks").knobs == BASE | {"hash_restart": 2}
    assert resolved("zap-list-empty").golden_name is None


def test_patch_3_as_merged_is_the_machine_of_our_own_exact_clearing():
    merged = ("unsync-count-exact", "unsync-clear-complete", "parent-stop-merged")
    assert resolved("zap-account", *merged).golden_name == "p3fix"
    assert resolved(*merged).golden_name is None


def test_patches_of_different_questions_go_together_without_each_other_or_patch_2():
    wanted = ("parent-stop-bit", "cr4-store", "unsync-list-reachable")
    assert resolved(*wanted).knobs == BASE | {"parent_stop": 1, "cr4_write": 2, "sync_scope": 2}
    on_35 = resolve(PatchSet("v2.6.35.6", wanted))
    assert on_35.knobs == GOLDEN_KNOBS["rel35"] | {
        "parent_stop": 1,
        "cr4_write": 2,
        "sync_scope": 2,
    }
    assert on_35.short_name == "rel35+p3+p4s+p6reach"


@pytest.mark.parametrize(
    ("patch_ids", "knob"),
    [
        (("zap-list-empty", "zap-account"), "limit_loop"),
        (("zap-restart-walks", "zap-merged"), "hash_restart"),
        (("zap-children-invalid", "zap-account"), "zap_return"),
        (("zap-children-invalid", "zap-return-self"), "zap_return"),
        (("zap-return-self", "zap-restart"), "hash_restart"),
        (("parent-stop-count", "parent-stop-merged"), "parent_stop"),
        (("cr4-norole", "cr4-store-norole"), "role_cr4_pge"),
        (("cr4-store", "cr4-guest-flush"), "cr4_write"),
        (("global-pages", "cr4-posted"), "cr4_write"),
        (("global-pages", "cr-reset-bits"), "cr_reset"),
        (("cr4-norole", "global-pages"), "role_cr4_pge"),
        (("unsync-list-vm", "sync-flush-once"), "sync_scope"),
    ],
)
def test_two_answers_to_one_question_contradict(patch_ids, knob):
    with pytest.raises(ContradictingPatches, match=f"{' and '.join(patch_ids)} .*{knob}"):
        resolved(*patch_ids)


@pytest.mark.parametrize(
    ("patch_id", "message"),
    [
        ("zap-account", "zap-account is in base v2.6.35.6 already, as 77662e0028c and 3246af0ece6"),
        ("cr4-norole", "already, as 87bc3bf972a; take it out"),
        ("cr4-store-norole", "makes no sense on base v2.6.35.6: CR4.PGE has left the role there"),
    ],
)
def test_a_patch_that_a_base_has_or_has_no_use_for_is_refused_there(patch_id, message):
    with pytest.raises(WrongBase, match=message):
        resolve(PatchSet("v2.6.35.6", (patch_id,)))


def test_what_a_base_has_already_counts_as_standing_before():
    assert resolve(PatchSet("v2.6.35.6", ("cr4-guest-flush",))).knobs["cr4_write"] == 3
    with pytest.raises(MissingRequirement, match="cr4-guest-flush sits on cr4-norole"):
        resolved("cr4-guest-flush")


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
        "c02bc1958ce36ae1f0af681e8eaa2df8607c6873d90fd4f8ca218fadd0691af4"
    )
    assert variant_from_golden_name("series").digest == (
        "9de35c4411a1718cb427f4b5ea630cff8f5503bb8bf18594b1409f956b99d7b5"
    )
    limited = variant_from_golden_name("p2", Parameters(Schedule(400, 64, 32768), bypass=1))
    assert limited.digest == "1bc231c35e8fa4b869d466f32b87c9729512b7653f204e74b1d073bf21949a97"


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
    with pytest.raises(ContradictingPatches, match=r"sp-flags-word is in the set twice"):
        resolved("sp-flags-word", "sp-flags-word")


@pytest.mark.parametrize(
    ("patch_ids", "message"),
    [
        (("zap-batch",), "zap-batch sits on zap-return-self; put zap-return-self before it"),
        (("zap-batch", "zap-return-self"), "move zap-return-self before it"),
        (("unsync-count-exact", "parent-stop-merged"), "sits on unsync-clear-complete"),
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
    with pytest.raises(UnknownPatch, match="'p5' is not a golden variant"):
        variant_from_golden_name("p5")


@given(st.lists(st.sampled_from([patch.id for patch in patches()]), max_size=6, unique=True))
def test_a_set_either_resolves_to_exactly_its_knobs_or_is_refused(patch_ids):
    by_id = {patch.id: patch for patch in patches()}
    knobs = [
        name
        for patch_id in patch_ids
        for name, value in by_id[patch_id].knobs.items()
        if value != BASE[name]
    ]
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


def test_patches_that_need_a_knob_left_as_it_is_do_not_contradict_each_other():
    both = resolved("invlpg-unsync", "pvm-dirty-epoch")
    assert both.knobs == BASE | {"invlpg_scope": 1, "sync_scope": 4}
    for patch_id in ("invlpg-unsync", "pvm-dirty-epoch", "pvm-table-queue"):
        with pytest.raises(ContradictingPatches, match="global_pages"):
            resolve(PatchSet("kvm-2010-04", ("global-pages", patch_id)))
    with pytest.raises(ContradictingPatches, match="sync_scope"):
        resolve(PatchSet("kvm-2010-04", ("pvm-dirty-epoch", "pvm-table-queue")))


def test_a_mistyped_short_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownPatch, match=r"'p3fx' .*did you mean p3fix\?"):
        patch_set_from_text("p3fx")
