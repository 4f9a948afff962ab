import json
import subprocess
import sys


def refault(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "refault.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def told(patch_id):
    """What the list says of one patch, line by line."""
    lines = refault("patches").stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{patch_id} "))
    end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith("  "))
    joined = "\n".join(lines[start + 1 : end]).replace("\n    ", " ")
    return [line.strip() for line in joined.splitlines()]


def test_the_list_marks_what_the_real_code_was_never_run_with():
    assert told("zap-batch") == [
        "Prepare and commit a zap: one remote flush for all pages zapped together",
        "requires zap-return-self",
        "no real-code result",
    ]
    assert told("zap-merged")[-1] == "real code: rel34, apr_p2merged"


def test_the_list_says_where_a_patch_cannot_go_and_what_it_does_to_the_struct():
    assert told("sp-bool")[1:] == [
        "v2.6.35.6 has it already, as 0571d366e0b",
        "kvm_mmu_page on x86-64: 160 bytes in 3 cache lines, was 160 in 3",
        "kvm_mmu_page on i386: 120 bytes in 2 cache lines, was 124 in 2",
        "changes no behaviour",
    ]
    assert any(line.startswith("not on v2.6.35.6: ") for line in told("cr4-store-norole"))


def test_the_list_ends_with_the_patch_sets_that_have_a_name():
    text = refault("patches").stdout
    assert max(map(len, text.splitlines())) <= 72
    last = text[text.index("Patch sets with a name:") :].split()
    assert last[5:8] == ["base,", "rel34,", "p2,"]
    assert last[-1] == "merged-2.6.36"


def test_the_json_list_says_the_same_in_fields():
    patches = {patch["id"]: patch for patch in json.loads(refault("patches", "--json").stdout)}
    assert patches["zap-batch"]["golden_names"] == []
    assert patches["parent-stop-merged"]["golden_names"] == ["p3fix", "apr_p3fix", "apr_p3full"]
    assert patches["cr4-norole"]["merged_in"] == {"v2.6.35.6": "as 87bc3bf972a"}
    assert patches["sp-flags-word"]["layout"]["before"]["i386"] == {"sizeof": 124, "cachelines": 2}


def test_one_patch_is_shown_with_what_it_claims_and_how_to_replay_it():
    shown = refault("patches", "show", "zap-account")
    document = refault("patches", "show", "zap-account", "--json")
    wrong = refault("patches", "show", "zap-acount")

    assert shown.stdout.startswith("zap-account: ")
    assert "claim: " in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("replay it: refault replay TRACE.rft -v base ")
    assert json.loads(document.stdout)["id"] == "zap-account"
    assert wrong.returncode == 2
    assert "did you mean zap-account?" in wrong.stderr
