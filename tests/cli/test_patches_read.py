import gzip
import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from refault.cli.exits import ExitCode
from refault.cli.main import app
from refault.errors import RefaultError
from tests.series.known import teach
from tests.series.mails import diff, mail, mbox

POSTED = diff("posted")


@pytest.fixture(autouse=True)
def _known_by_made_up_diffs(monkeypatch):
    teach(monkeypatch, {"cr4-posted": POSTED, "zap-account": diff("account")})


def run(*words, **given):
    return CliRunner().invoke(app, ["patches", "read", *map(str, words)], **given)


def two_patches():
    return [mail("[PATCH 1/2] one", diff("account")), mail("[PATCH 2/2] two", POSTED)]


def known(found):
    assert found.exit_code == 0, found.output
    return [
        (entry["mail"]["number"], entry["patch"]) for entry in json.loads(found.stdout)["patches"]
    ]


BOTH = [(1, "zap-account"), (2, "cr4-posted")]


def test_patch_files_are_read_as_one_series_and_named(tmp_path):
    one, two = tmp_path / "0001.patch", tmp_path / "0002.patch"
    one.write_bytes(mail("[PATCH v2 1/2] KVM: MMU: optimize for writing cr4", POSTED))
    two.write_bytes(mbox(mail("[PATCH v2 2/2] frogs", diff("two")), mail("Re: [PATCH] x")))

    found = run(two, one)

    assert found.exit_code == 1
    assert found.stdout.splitlines() == [
        "1/2 KVM: MMU: optimize for writing cr4",
        "      cr4-posted (by diff)",
        "2/2 frogs",
        "      not matched: not in the catalogue",
        "left out: Re: [PATCH] x: a reply",
        "remedies:",
        "- if it is in the catalogue, map it by hand: --map 1=ID",
        "- if it is not to be compared, leave it out: --map 1=-",
        "- if it is of your own tree, on this machine: refault kernel build TREE",
        "  --patch FILE",
        "- if it is of your own tree, on a service: refault submit TRACES",
        "  --kernel TREE --mail FILE",
        "- if it is new, add it to the model: docs/howto/add-a-variant.md",
    ]


def test_a_series_that_is_known_ends_well_and_is_json_on_request(tmp_path):
    file = tmp_path / "series.mbox"
    file.write_bytes(mbox(mail("[PATCH] words", POSTED)))

    found = run(file, "--json")

    assert found.exit_code == 0
    document = json.loads(found.stdout)
    [patch] = document["patches"]
    assert (patch["patch"], patch["by"], patch["mail"]["author"]) == (
        "cr4-posted",
        "diff",
        "Ann Other <ann@example.org>",
    )
    assert (document["problems"], document["remedies"]) == ([], [])


def test_a_known_subject_with_another_diff_is_a_candidate_and_does_not_end_well(tmp_path):
    file = tmp_path / "a.patch"
    file.write_bytes(mail("[PATCH] KVM MMU: optimize for writing cr4", diff("other")))

    told = run(file)
    [patch] = json.loads(run(file, "--json").stdout)["patches"]

    assert told.exit_code == 1
    assert "perhaps cr4-posted" in " ".join(told.stdout.split())
    assert "--map 0=cr4-posted" in " ".join(told.stdout.split())
    assert (patch["patch"], patch["candidates"]) == (None, ["cr4-posted"])


@pytest.mark.parametrize(
    "shape", ["folder", "maildir", "gzip", "standard input", "gzip on standard input", "files"]
)
def test_mails_are_read_from_wherever_they_are(tmp_path, shape):
    mails, box = two_patches(), mbox(*two_patches())
    folder = tmp_path / "mails"
    if shape in {"folder", "maildir", "files"}:
        parts = ("cur", "new", "tmp") if shape == "maildir" else ("", "")
        for part, data, name in zip(parts, mails, ("b", "a"), strict=False):
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / name).write_bytes(data)
        (folder / ".hidden").write_bytes(b"not a mail")
        words = [folder] if shape != "files" else [folder / "b", folder / "a"]
        assert known(run(*words, "--json")) == BOTH
    elif shape == "gzip":
        (tmp_path / "t.mbox.gz").write_bytes(gzip.compress(box))
        assert known(run(tmp_path / "t.mbox.gz", "--json")) == BOTH
    else:
        data = gzip.compress(box) if shape.startswith("gzip") else box
        assert known(run("-", "--json", input=data)) == BOTH


def test_a_person_says_which_patch_a_mail_is_or_leaves_it_out(tmp_path):
    file = tmp_path / "a.mbox"
    file.write_bytes(mbox(mail("[PATCH 1/2] x"), mail("[PATCH 2/2] y", diff("q"))))

    found = run(file, "--map", "0=zap-account", "--map", "1=-")

    assert (found.exit_code, found.stdout.splitlines()) == (
        0,
        ["1/2 x", "      zap-account (by mapping)", "2/2 y", "      left out"],
    )


def test_a_series_that_is_not_whole_says_what_is_missing_and_does_not_end_well(tmp_path):
    file = tmp_path / "a.mbox"
    file.write_bytes(mbox(mail("[PATCH 1/3] x", POSTED), mail("[PATCH 3/3] y", diff("account"))))

    found = run(file)
    meant = run(file, "--partial")

    assert found.exit_code == 1
    assert found.stdout.splitlines()[-3:] == [
        "incomplete: 2/3 is missing",
        "remedies:",
        "- if the series is incomplete on purpose, use --partial",
    ]
    assert meant.exit_code == 0
    assert "incomplete: 2/3 is missing" in meant.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.mbox"], "nothing.mbox: No such file or directory"),
        (["empty"], "empty: the folder has no files"),
        (["a.mbox", "--map", "x"], "--map x: expected INDEX=PATCH"),
        (["a.mbox", "--map", "7=zap-account"], "there is no patch 7"),
        (["a.mbox", "--map", "0=zap-acount"], "zap-acount"),
        (["a.mbox", "--version", "4"], "no version v4"),
        (["words.txt"], "no patch in this file: '': neither a mail nor a diff"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(tmp_path, monkeypatch, words, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.mbox").write_bytes(mail("[PATCH] x"))
    (tmp_path / "words.txt").write_bytes(b"only words\n")
    monkeypatch.chdir(tmp_path)
    found = run(*words)
    assert isinstance(found.exception, RefaultError)
    assert said in str(found.exception)


def test_a_mail_with_a_thousand_nested_parts_is_refused_in_one_line(tmp_path):
    nested = "".join(
        f"Content-Type: multipart/mixed; boundary=b{i}\n\n--b{i}\n" for i in range(1_000)
    )
    (tmp_path / "a.eml").write_text(f"Subject: x\n{nested}")
    found = subprocess.run(
        [sys.executable, "-m", "refault.cli.main", "patches", "read", tmp_path / "a.eml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (ExitCode.BAD_INPUT, "")
    reason = "no patch in this file: 'x': its parts are nested deeper than 20"
    assert found.stderr.splitlines() == [f"refault: {tmp_path}/a.eml: {reason}"]


def test_a_subject_cannot_command_the_terminal(tmp_path):
    file = tmp_path / "series.mbox"
    file.write_bytes(mail("[PATCH] \x1b[31mred"))
    assert "\x1b" not in run(file).stdout
