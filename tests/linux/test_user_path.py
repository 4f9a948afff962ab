"""As a user does it: a tree and a mailbox in, a verdict on each patch out."""

import functools
import json

import pytest

from tests.cli.running import run
from tests.fixtures.trees import (
    at_the_end,
    in_function,
    packed,
    patient_with_writes,
    without_invalidation,
)
from tests.linux.test_runs import WORKLOAD

INVALIDATES = "tests/golden/vectors/s05_invlpg.ops.jsonl.zst"


@pytest.fixture
def refault(tmp_path, own_kernels):
    """The command, with a store of its own."""
    return functools.partial(run, tmp_path, REFAULT_KERNELS=str(own_kernels))


def test_from_a_tree_and_a_mailbox_to_a_verdict_on_each_patch(refault, patch_of, tmp_path):
    mailbox = tmp_path / "series.mbox"
    patches = patch_of(
        "6.12",
        ("Say what INVLPG is about", in_function("kvm_mmu_invlpg", lambda body: body + "\n\t;")),
        ("Be patient with writes", patient_with_writes),
        ("INVLPG has nothing to do", without_invalidation),
    )
    mailbox.write_bytes(b"\n".join(patches))
    built = refault(
        *("kernel", "build", packed("6.12"), "--name", "walk-through", "--patch", mailbox)
    )
    assert built.returncode == 0, built.stderr
    assert "2,936,808 of 2,936,808 accesses as on the real guests" in built.stdout
    names = [f"walk-through{prefix}" for prefix in ("", "+1", "+1..2", "+1..3")]
    assert all(f"kernel:{name} " in built.stdout for name in names)

    columns = [word for name in names for word in ("-v", f"kernel:{name}")]
    replayed = refault("replay", WORKLOAD, *columns)
    assert replayed.returncode == 1
    for text in (
        "identical: every outcome",
        "mmu_pte_write +139%",
        "GUEST-VISIBLE CHANGE: 232 accesses reached a wrong address, 43",
        "operation 8660",
    ):
        assert text in replayed.stdout

    listed = json.loads(refault("kernel", "list", "--json").stdout)
    mine = {each["name"]: each for each in listed if each["name"] in names}
    assert [len(mine[name]["patches"]) for name in names] == [0, 1, 2, 3]
    shown = refault("kernel", "show", "walk-through+1..2").stdout
    assert "Be patient with writes" in shown
    checked = refault("kernel", "check", "walk-through+1..3", WORKLOAD, "--json")
    assert checked.returncode == 1
    assert json.loads(checked.stdout)["deviating"] == 275

    # No capture says what INVLPG should have dropped; the guest's own tables do.
    audited = refault("audit", INVALIDATES, *columns[:2], *columns[-2:], "--json")
    assert audited.returncode == 1, audited.stderr
    sound, unsound = json.loads(audited.stdout)[0]["audits"]
    assert (sound["is_sound"], sound["report"]["broken"]) == (True, [])
    assert [each["check"] for each in unsound["report"]["broken"]] == ["F-T5"]
    named = ("--kernel", names[-1], "--json")
    beside = json.loads(refault("report", "seed-thread", INVALIDATES, *named).stdout)["kernel"]
    assert beside["name"] == names[-1]
    assert "F-T5" in beside["traces"][0]["reason"]


def test_a_pack_is_a_tree_and_gives_the_same_kernel(refault, tmp_path):
    out = tmp_path / "mine.tar.xz"
    told = refault("kernel", "pack", packed("6.1"), out)
    assert told.returncode == 0, told.stderr
    assert out.stat().st_size < 2_000_000
    digests = set()
    for source in (packed("6.1"), out):
        built = refault("kernel", "build", source, "--name", "again", "--json")
        digests.add(json.loads(built.stdout)[0]["digest"])
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("build", "nowhere", "--name", "absent"), "there is no such directory or file"),
        (("build", ".", "--name", "absent"), "no Linux tree"),
        (("build", ".", "--name", "Not a name"), "expected up to 40 small letters"),
        (("show", "absent"), "no kernel 'absent' is built here"),
        (("check", "absent"), "refault kernel build TREE --name NAME"),
        (("remove", "absent"), "no kernel 'absent' is built here"),
        (("pack", ".", "mine.zip"), ".tar.xz"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_the_remedy(refault, words, said):
    answer = refault("kernel", *words)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_a_patch_that_breaks_the_build_leaves_no_name(refault, patch_of, tmp_path):
    (patch,) = patch_of("6.12", ("Break it", at_the_end("int broken(void) { return nothing; }")))
    file = tmp_path / "broken.patch"
    file.write_bytes(patch)
    built = refault("kernel", "build", packed("6.12"), "--name", "absent", "--patch", file)
    assert built.returncode == 2
    assert "arch/x86/kvm/mmu/mmu.c:" in built.stderr
    assert "nothing" in built.stderr
    assert refault("kernel", "show", "absent").returncode == 2


def test_the_catalogues_patches_do_not_go_on_it_and_the_service_does_not_run_it(refault):
    assert "refault kernel build" in refault("replay", WORKLOAD, "-v", "kernel:absent").stderr
