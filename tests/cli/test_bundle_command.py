import json
import shutil
import subprocess
import zipfile
from functools import partial

import pytest

from refault.bundle import layout
from refault.cli import bundle_files
from refault.client import Client
from refault.errors import BundleError
from tests.builders import digest_of
from tests.bundle.test_bundle import changed, made, text_of
from tests.cli.running import run_here
from tests.fixtures.api import SERIES, trace_bytes

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")


@pytest.fixture
def refault(tmp_path, monkeypatch):
    return partial(run_here, monkeypatch, tmp_path)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "b-7k3f.zip"
    path.write_bytes(made())
    return path


def test_a_sound_bundle_is_told_in_a_few_lines(refault, file):
    answer = refault("bundle", "verify", file)

    assert answer.returncode == 0, answer.stderr
    assert "Series of 12 April 2010: batch b-7k3f" in answer.stdout
    assert "10 results, 14 cells" in answer.stdout
    assert "verdict: GUEST-VISIBLE CHANGE (exit code 1)" in answer.stdout
    assert answer.stdout.splitlines()[-1] == f"{file}: sound"


def test_what_is_wrong_is_named_and_the_exit_code_says_so(refault, file):
    page = text_of(made(), "index.html").replace("GUEST-VISIBLE CHANGE", "improvement")
    file.write_bytes(changed(made(), "index.html", page))

    answer = refault("bundle", "verify", file)
    document = json.loads(refault("bundle", "verify", file, "--json").stdout)

    assert answer.returncode == 1
    assert "WRONG: index.html: not what its results give" in answer.stdout
    assert f"{file}: NOT sound" in answer.stdout
    assert document["problems"] == ["index.html: not what its results give"]
    assert document["is_sound"] is False


def test_a_file_that_is_no_bundle_is_bad_input(refault, tmp_path):
    path = tmp_path / "boot.rft"
    path.write_bytes(trace_bytes())

    answer = refault("bundle", "verify", path)
    nothing = refault("bundle", "verify", tmp_path / "nothing.zip")

    assert answer.returncode == nothing.returncode == 2
    assert "not a bundle" in answer.stderr
    assert "cannot be read" in nothing.stderr


@needs_ssh
def test_a_signature_is_by_an_allowed_key_and_over_these_files(refault, file, tmp_path):
    for name in ("anna", "mallory"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", tmp_path / name],
            check=True,
        )
    signers = tmp_path / "signers"
    signers.write_text(f"anna@example.org {(tmp_path / 'anna.pub').read_text()}")

    unsigned = refault("bundle", "verify", file, "--signers", signers)
    assert refault("bundle", "sign", file, "--key", tmp_path / "anna").returncode == 0
    signed = refault("bundle", "verify", file, "--signers", signers)
    again = refault("bundle", "sign", file, "--key", tmp_path / "anna")
    other = tmp_path / "other"
    other.write_text(f"mallory@example.org {(tmp_path / 'mallory.pub').read_text()}")
    not_allowed = refault("bundle", "verify", file, "--signers", other)
    with zipfile.ZipFile(file) as archive:
        text = archive.read(f"refault-b-7k3f/{layout.MANIFEST}").decode()
    moved = text.replace("Series of 12 April 2010", "Another series")
    file.write_bytes(changed(file.read_bytes(), layout.MANIFEST, moved))
    over_others = refault("bundle", "verify", file, "--signers", signers)

    assert unsigned.returncode == 1
    assert "WRONG: it is not signed" in unsigned.stdout
    assert signed.returncode == 0, signed.stdout
    assert "signed by anna@example.org" in signed.stdout
    assert again.returncode == 2
    assert "signed already" in again.stderr
    assert not_allowed.returncode == 1
    assert "signed by nobody of" in not_allowed.stdout
    assert over_others.returncode == 1


@needs_ssh
def test_a_key_that_is_none_is_refused_by_ssh_keygens_own_words(refault, file, tmp_path):
    answer = refault("bundle", "sign", file, "--key", tmp_path / "nothing")

    assert answer.returncode == 2
    assert "ssh-keygen: " in answer.stderr


class TestOfTheService:
    @pytest.fixture
    def there(self, refault, live, token):
        return partial(refault, REFAULT_URL=live, REFAULT_TOKEN=token)

    def test_a_bundle_is_fetched_and_verifies(self, there, live, token, rows, tmp_path):
        digests = rows.ready_for_seed_series()
        with Client(live, token=token) as client:
            row = client.create_patch_set(
                SERIES["name"], base="v2.6.34-pre", patches=SERIES["patches"]
            )
            code = client.submit_batch(digests, [row["id"]], plan="series")["code"]
        target = tmp_path / "out" / "mine.zip"

        answer = there("bundle", "fetch", code, "-o", target)

        assert answer.returncode == 0, answer.stderr
        assert f"check it with: refault bundle verify {target}" in answer.stdout
        assert there("bundle", "verify", target).returncode == 0
        assert [path.name for path in target.parent.iterdir()] == ["mine.zip"]

    def test_a_batch_that_is_not_there_leaves_no_file(self, there, tmp_path):
        answer = there("bundle", "fetch", "b-none", "-o", tmp_path / "x.zip")

        assert answer.returncode == 4
        assert not list(tmp_path.glob("x.zip*"))

    def test_traces_are_inside_if_asked_for(self, there, live, token, rows, tmp_path):
        rows.register_simulator()
        file = tmp_path / "boot.rft"
        file.write_bytes(trace_bytes())
        with Client(live, token=token) as client:
            digest = client.upload_trace(file).trace["digest"]
            rows.know_base(digest)
            row = client.create_patch_set("base", base="v2.6.34-pre", patches=[])
            code = client.submit_batch([digest], [row["id"]])["code"]
        target = tmp_path / "with.zip"

        answer = there("bundle", "fetch", code, "-o", target, "--with-traces")
        found = json.loads(there("bundle", "verify", target, "--json").stdout)

        assert answer.returncode == 0, answer.stderr
        assert (found["captures"], found["problems"]) == (1, [])
        with zipfile.ZipFile(target) as archive:
            inside = archive.read(f"refault-{code}/captures/{digest}.rft")
        assert inside == file.read_bytes()
        back = json.loads(there("bundle", "import", target, "--json").stdout)
        assert back["traces_uploaded"] == 1
        assert back["matches"] == {"equal": 1, "different": [], "unknown": 0}

    def test_a_bundle_is_imported_and_told_what_is_known_of_it(self, there, file):
        answer = there("bundle", "import", file)
        document = json.loads(there("bundle", "import", file, "--json").stdout)

        assert answer.returncode == 0, answer.stderr
        assert "0 results are the same there, 0 differ, 10 were not computed there" in answer.stdout
        assert answer.stdout.splitlines()[-1].endswith(f"/bundles/{document['id']}")

    def test_a_file_inside_that_is_no_trace_of_it_is_not_uploaded(self, there, file):
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(f"refault-b-7k3f/captures/{'0' * 64}.rft", b"x")

        assert there("bundle", "verify", file).returncode == 1
        answer = there("bundle", "import", file)

        assert answer.returncode == 2
        assert "no trace of this bundle" in answer.stderr
        assert "nothing was sent" in answer.stderr

    def test_a_trace_inside_whose_bytes_are_others_is_not_uploaded(self, there, file):
        digest = digest_of("linux61-boot-1cpu")
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(f"refault-b-7k3f/captures/{digest}.rft", trace_bytes())

        answer = there("bundle", "import", file)

        assert answer.returncode == 2
        assert "its bytes are not those of its name" in answer.stderr
        listed = json.loads(there("traces", "list", "--json").stdout)
        assert listed == []

    def test_a_bundle_that_lies_is_not_sent(self, there, file):
        page = text_of(made(), "index.html").replace("GUEST-VISIBLE CHANGE", "improvement")
        file.write_bytes(changed(made(), "index.html", page))

        answer = there("bundle", "import", file)

        assert answer.returncode == 2
        assert "index.html: not what its results give; nothing was sent" in answer.stderr

    def test_a_trace_that_cannot_be_fetched_leaves_no_file(
        self, there, live, token, rows, tmp_path
    ):
        digests = rows.ready_for_seed_series()
        with Client(live, token=token) as client:
            row = client.create_patch_set("base", base="v2.6.34-pre", patches=[])
            code = client.submit_batch(digests, [row["id"]])["code"]
        target = tmp_path / "out" / "with.zip"

        answer = there("bundle", "fetch", code, "-o", target, "--with-traces")

        assert answer.returncode != 0
        assert list(target.parent.iterdir()) == []


def test_what_is_added_stands_in_the_folder_that_is_there_and_the_list_is_written_once(tmp_path):
    file = tmp_path / "b-7k3f.zip"
    file.write_bytes(made())
    more = tmp_path / "trace.rft"
    more.write_bytes(b"x" * 5_000)

    with bundle_files.additions(file) as added:
        for digest in ("1" * 64, "2" * 64):
            added.add(bundle_files.capture_of(digest), more)

    data = file.read_bytes()
    assert data.count(b"PK\x05\x06") == 1
    with zipfile.ZipFile(file) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {"refault-b-7k3f"}
        assert archive.read(f"refault-b-7k3f/captures/{'2' * 64}.rft") == b"x" * 5_000


def test_a_replacement_that_fails_leaves_the_file_as_it_was(tmp_path):
    file = tmp_path / "b.zip"
    file.write_bytes(b"before")

    def write_half():
        with bundle_files.replacing(file) as partial:
            partial.write_bytes(b"half")
            raise BundleError("damaged")

    with pytest.raises(BundleError):
        write_half()

    assert file.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]
