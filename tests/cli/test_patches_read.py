import json

from typer.testing import CliRunner

from refault.cli.main import app
from tests.series.mails import diff, mail, mbox


def run(*words):
    return CliRunner().invoke(app, ["patches", "read", *map(str, words)])


def test_patch_files_are_read_as_one_series_and_named(tmp_path):
    one, two = tmp_path / "0001.patch", tmp_path / "0002.patch"
    one.write_bytes(mail("[PATCH v2 1/2] KVM: MMU: optimize for writing cr4"))
    two.write_bytes(mbox(mail("[PATCH v2 2/2] frogs", diff("two")), mail("Re: [PATCH] x")))

    found = run(two, one)

    assert found.exit_code == 1
    assert found.stdout.splitlines() == [
        "1/2 KVM: MMU: optimize for writing cr4",
        "      cr4-posted (by subject)",
        "2/2 frogs",
        "      not in the catalogue",
        "left out: Re: [PATCH] x: a reply",
    ]


def test_a_series_that_is_known_ends_well_and_is_json_on_request(tmp_path):
    file = tmp_path / "series.mbox"
    file.write_bytes(mbox(mail("[PATCH] KVM MMU: optimize for writing cr4")))

    found = run(file, "--json")

    assert found.exit_code == 0
    [patch] = json.loads(found.stdout)["patches"]
    assert (patch["patch"], patch["mail"]["author"]) == (
        "cr4-posted",
        "Ann Other <ann@example.org>",
    )


def test_a_subject_cannot_command_the_terminal(tmp_path):
    file = tmp_path / "series.mbox"
    file.write_bytes(mail("[PATCH] \x1b[31mred"))
    assert "\x1b" not in run(file).stdout
