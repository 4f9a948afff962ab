"""``python -m services.local`` as a user starts it, and how it ends."""

import contextlib
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from refault.replay.compile.cache import cache_folder
from services.local.folder import DataFolder
from tests.patience import PATIENCE_SECONDS, eventually

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "demo" / "corpus"
# As many workers as most tests here need: each more costs seconds of a core.
ONE = ("--workers", "1")

started = []


@pytest.fixture(autouse=True)
def nothing_left_running():
    """Ends what a failed test leaves behind; the parts of a stack end with their starter."""
    yield
    while started:
        process = started.pop()
        process.kill()
        process.communicate()


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def traces(tmp_path):
    """One small guest: what the demo makes of its own captures is tested where each part is."""
    folder = tmp_path / "traces"
    folder.mkdir()
    shutil.copy(CORPUS / "sqlite-1cpu.rft", folder)
    return folder


def processes_of(folder):
    """Every process of the stack in ``folder``: each of them holds its lock open."""
    lock = folder / "lock"
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if any(Path(entry).resolve() == lock for entry in process.glob("fd/*")):
                found.append(int(process.name))
    return found


def start(command, data, *arguments):
    environment = {**os.environ, "REFAULT_CACHE": str(cache_folder())}
    process = subprocess.Popen(
        [sys.executable, "-m", "services.local", command, "--data", str(data), *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


def finish(process):
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, output, errors


def wait_until_up(process, data):
    # The address of the service that the process starts there.

    def url():
        assert process.poll() is None, process.communicate()
        with contextlib.suppress(FileNotFoundError):
            service = json.loads((data / "run" / "service.json").read_text())
            is_up = service["pid"] == process.pid and service["is_ready"]
            return service["url"] if is_up else None
        return None

    return eventually(url, "the service's address")


def wait_until_nothing_runs(data):
    eventually(lambda: not processes_of(data), lambda: f"the end of {processes_of(data)}")


def test_the_demo_shows_a_table_stops_everything_and_simulates_nothing_twice(data, traces):
    code, output, errors = finish(start("demo", data, "--traces", str(traces)))
    assert code == 0, errors
    table, _, remark = output.partition("\n5 runs simulated")
    assert remark
    assert max(len(line) for line in table.splitlines()) <= 72
    _, _, rest = output.partition("The thread of 12 April 2010, held against these guests")
    review, _, decided = rest.partition("which to merge, and which other form instead, as a page: ")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/s/rfs_[\w-]{43}\n", decided)
    assert "Patch 1, remove struct kvm_unsync_walk: no functional change." in review
    written = (data / "report" / "seed-thread.txt").read_text()
    assert "Patch 3: stop walking parents that are already marked" in written
    assert re.search(r"^as a page: http://127\.0\.0\.1:\d+/s/rfs_[\w-]{43}$", output, re.MULTILINE)
    assert processes_of(data) == []

    code, again, errors = finish(start("demo", data, "--traces", str(traces)))
    assert code == 0, errors
    assert "5 of 5 runs found by digest; nothing was simulated" in again
    # Everything but the batch's code is as before.
    assert re.sub(r"b-\w+", "", again).startswith(re.sub(r"b-\w+", "", table))
    assert review in again
    assert f"as admin; password and token are in {data / 'access.json'}" in errors
    assert processes_of(data) == []


def test_on_a_terminal_the_demo_stays_until_ctrl_c(data, traces):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        # Shells let what they start in the background ignore Ctrl-C; a terminal does not.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.environ["REFAULT_CACHE"] = str(cache_folder())
        command = ["-m", "services.local", "demo", "--data", str(data), "--traces", str(traces)]
        command += ["--no-review", *ONE]
        os.execv(sys.executable, [sys.executable, *command])
    seen = b""
    try:
        while b"Ctrl-C stops the service" not in seen:
            seen += os.read(terminal, 4096)
        [url] = re.findall(rb"as a page: (\S+)", seen)
        assert httpx.get(url.decode(), trust_env=False, timeout=PATIENCE_SECONDS).status_code == 200
        os.write(terminal, b"\x03")
        # What it still prints must be read, or it waits for us.
        with contextlib.suppress(OSError):
            while chunk := os.read(terminal, 4096):
                seen += chunk
    except BaseException:
        # Not told to stop yet, it would be waited for without end.
        os.kill(pid, signal.SIGTERM)
        raise
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, seen
    assert b"Traceback" not in seen
    assert processes_of(data) == []


class Ended(NamedTuple):
    """A service that was told to stop, and what it was like before."""

    data: Path
    worker_count: int
    process_count: int
    code: int
    errors: str


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    data = tmp_path_factory.mktemp("ended") / "data"
    process = start("serve", data)
    try:
        url = wait_until_up(process, data)
        answer = httpx.get(f"{url}/readyz", trust_env=False, timeout=PATIENCE_SECONDS)
        process_count = len(processes_of(data))
        process.send_signal(signal.SIGTERM)
        code, _, errors = finish(process)
    finally:
        process.kill()
    return Ended(data, answer.json()["worker_count"], process_count, code, errors)


def test_told_to_stop_it_stops_everything(ended):
    assert ended.worker_count >= 1
    assert ended.process_count > 5
    assert ended.code == 143, ended.errors
    assert processes_of(ended.data) == []


def test_kill_9_of_the_starter_leaves_no_process_and_a_folder_that_works(data):
    process = start("serve", data, *ONE)
    wait_until_up(process, data)
    process.kill()
    wait_until_nothing_runs(data)
    again = start("serve", data, *ONE)
    url = wait_until_up(again, data)
    assert httpx.get(f"{url}/readyz", trust_env=False, timeout=PATIENCE_SECONDS).status_code == 200
    again.terminate()
    assert finish(again)[0] == 143


def test_a_folder_in_use_is_refused_and_another_one_works_beside_it(data, tmp_path):
    first = start("serve", data, *ONE)
    wait_until_up(first, data)
    code, output, errors = finish(start("serve", data))
    assert (code, output) == (1, "")
    assert f"the data folder {data} is in use by process {first.pid}" in errors
    assert "--data" in errors
    other = tmp_path / "other"
    second = start("serve", other, *ONE)
    wait_until_up(second, other)
    assert first.poll() is None
    for process in (first, second):
        process.terminate()
        assert finish(process)[0] == 143
    assert processes_of(data) == processes_of(other) == []


def test_a_part_that_dies_ends_the_service_with_its_last_words(data):
    process = start("serve", data, *ONE)
    wait_until_up(process, data)
    [postmaster] = [
        int((data / "postgres" / "postmaster.pid").read_text().splitlines()[0]),
    ]
    os.kill(postmaster, signal.SIGKILL)
    code, _, errors = finish(process)
    assert code == 1
    assert "postgres: ended with SIGKILL" in errors
    assert str(data / "logs" / "postgres.log") in errors
    assert "Traceback" not in errors
    wait_until_nothing_runs(data)


def test_all_that_is_written_is_in_the_folder_and_secrets_are_private(ended):
    data = ended.data
    assert {path.name for path in data.parent.iterdir()} == {"data"}
    assert (data / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert (data / "run" / "valkey.conf").stat().st_mode & 0o777 == 0o600
    secrets = json.loads((data / "secrets.json").read_text())
    assert len(set(secrets.values())) == 3
    assert (data / "access.json").stat().st_mode & 0o777 == 0o600
    access = json.loads((data / "access.json").read_text())
    secrets |= {name: access[name] for name in ("password", "token")}
    assert access["token"].startswith("rft_")
    assert len(set(secrets.values())) == 5
    logs = "".join(path.read_text(errors="replace") for path in (data / "logs").iterdir())
    assert not [name for name, secret in secrets.items() if secret in logs]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", "0"), "--port"),
        (("--workers", "0"), "--workers"),
        (("--port", "1", "--traces", "."), "unrecognized arguments: --traces"),
    ],
)
def test_bad_options_are_refused_before_anything_starts(data, arguments, message):
    code, _, errors = finish(start("serve", data, *arguments))
    assert code == 2
    assert message in errors
    assert not data.exists()


def test_a_demo_without_traces_says_so_and_starts_nothing(data, tmp_path):
    code, _, errors = finish(start("demo", data, "--traces", str(tmp_path)))
    assert code == 1
    assert f"no traces (*.rft) in {tmp_path}" in errors
    assert not data.exists()


def test_a_folder_with_files_of_somebody_else_is_refused(data):
    data.mkdir()
    (data / "thesis.tex").write_text("mine")
    code, _, errors = finish(start("serve", data))
    assert code == 1
    assert "holds other files" in errors
    assert [path.name for path in data.iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    code, _, errors = finish(start("serve", tmp_path / "file" / "data"))
    assert code == 1
    assert f"cannot use the data folder {tmp_path / 'file' / 'data'}" in errors
    assert "Traceback" not in errors


def test_damaged_secrets_are_named(tmp_path):
    folder = DataFolder(tmp_path)
    folder.open()
    folder.close()
    (tmp_path / "secrets.json").write_text("{")
    code, _, errors = finish(start("serve", tmp_path))
    assert code == 1
    assert "secrets.json is damaged" in errors


def test_without_a_place_for_locks_a_start_says_what_to_mount(data):
    """Celery's pool ended with a bare OSError, six times, after everything else was up."""
    begins = (
        ("services.local", "serve", "--data", str(data)),
        ("worker",),
    )
    for command in begins:
        words = shlex.join([sys.executable, "-m", *command])
        shell = f"mount -t tmpfs -o ro tmpfs /dev/shm || exit 99; exec {words}"
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", shell],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 99 or done.stderr.startswith("unshare:"):
            pytest.skip("no namespace of mounts can be made here")
        assert done.returncode in (1, 2), done.stderr
        assert "none can be made there: Read-only file system. As root: mount -t" in done.stderr
        assert "Traceback" not in done.stderr
    assert not data.exists()
