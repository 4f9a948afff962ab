"""Which to merge, which not, and what to take instead: the first words of a series' page."""

from services.dashboard.decision import decision


def step(number, patch, merge="no effect", *, of="series", **more):
    told = {
        "patch": patch,
        "set": of,
        "number": number,
        "title": f"patch {number} ({patch})",
        "label": f"{of} 1-{number}",
        "merge": merge,
        "sentence": "a long one",
        "brief": f"why {patch}",
        "form_of": None,
        "carried_by": [],
        "ended_by": None,
    }
    return told | more


def decided(*steps, plan="series"):
    return decision({"plan": plan}, steps)


def test_what_not_to_merge_comes_first_and_what_does_nothing_last():
    found = decided(
        step(1, "a"), step(2, "b", "do not"), step(3, "c", "take"), step(4, "d", "costs more"),
        step(5, "e"),
    )  # fmt: skip
    assert found["sentence"] == (
        "Do not merge patch 2 (b): something goes wrong with it. Merge patch 3 (c). Patch 4 (d) "
        "costs more. Patches 1 and 5 make no notable difference."
    )
    [only] = found["lists"]
    assert [row["word"] for row in only["rows"]] == ["do not", "costs more", "take", "no effect"]
    assert [patch["id"] for patch in only["rows"][-1]["patches"]] == ["a", "e"]
    assert only["rows"][0]["why"] == "why b"
    assert only["name"] == "series"


def test_the_patches_of_a_kernel_are_told_by_number_and_title():
    """Their ids are numbers in the kernel's series, wherever they stand in this one."""
    titles = ("Say more", "Flush less", "Zap less")
    found = decided(
        *(
            step(place, patch, word, title=f"patch {patch} ({title})", patch_title=title)
            for place, (patch, word, title) in enumerate(
                zip(("1", "3", "4"), ("do not", "no effect", "no effect"), titles, strict=True), 1
            )
        )
    )
    assert found["sentence"] == (
        "Do not merge patch 1 (Say more): something goes wrong with it. Patches 3 and 4 make no "
        "notable difference."
    )
    rows = found["lists"][0]["rows"]
    assert [patch["title"] for row in rows for patch in row["patches"]] == list(titles)


def test_a_sound_form_of_a_broken_patch_is_named_to_be_taken_instead():
    found = decided(
        step(1, "a", "do not"),
        step(2, "b", "do not", carried_by=["series 1-3"], ended_by="series 1-4"),
        step(1, "a-exact", of="v2", form_of="a"),
        step(1, "b-early", "do not", of="v3", form_of="b", ended_by="v3 1-2"),
        step(2, "b-late", "take", of="v3"),
        step(1, "b-bad", "do not", of="v4", form_of="b"),
    )
    assert found["sentence"] == (
        "Do not merge patches 1 and 2: something goes wrong with each. The whole series has to "
        "wait. Take v2 for patch 1 (a) and v3 for patch 2 (b) instead."
    )
    assert found["lists"][0]["rows"][1]["after"] == "series 1-3 carries it on; series 1-4 ends it"
    sound = {form["name"]: (form["is_sound"], form["instead"]) for form in found["forms"]}
    assert sound == {
        "v2": (True, "patch 1 (a)"),
        "v3": (True, "patch 2 (b)"),
        "v4": (False, "patch 2 (b)"),
    }
    [third] = [form for form in found["forms"] if form["name"] == "v3"]
    assert third["why"].endswith("its patch 1 (b-early) alone would break")


def test_other_plans_have_their_patches_in_lists_and_keep_their_own_sentence():
    taken_out = [step(1, "a", "take", of="one"), step(1, "b", "do not", of="other")]
    found = decided(*taken_out, plan="ablation")
    assert found["sentence"] == ""
    assert [(each["name"], each["rows"][0]["word"]) for each in found["lists"]] == [
        ("one", "take"),
        ("other", "do not"),
    ]
    siblings = [each | {"number": None} for each in taken_out]
    [only] = decided(*siblings, plan="each")["lists"]
    assert [row["word"] for row in only["rows"]] == ["do not", "take"]


def test_nothing_is_decided_of_a_matrix_nor_before_anything_is_known():
    assert decided(step(1, "a"), plan="matrix") is None
    assert decided(step(1, "a", "unknown")) is None
    assert decided() is None
    some = decided(step(1, "a"), step(2, "b", "unknown"))
    assert some["sentence"].endswith("Of patch 2 (b) results are missing.")
