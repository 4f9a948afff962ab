"""The data folder.

::

    DATA/
    ├── lock            held while a stack uses the folder; the pid of its starter
    ├── secrets.json    generated passwords of the servers, mode 600
    ├── access.json     name and password to log in with, and a token, mode 600
    ├── postgres/       the database cluster
    ├── broker/         Valkey's append-only file
    ├── blobs/          traces by digest
    ├── cache/          compiled kernels and caches of libraries
    ├── run/            configuration written at start, the URL of the running service
    ├── tmp/            temporary files of all parts
    └── logs/           one file per part
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from pathlib import Path
from typing import Final

from services.local.errors import StackError

LOCK_PATIENCE_SECONDS = 15.0
LOG_SIZE_MAX_BYTES = 5_000_000
_FOLDERS: Final = ("broker", "blobs", "cache", "run", "tmp", "logs")


class DataFolder:
    """Paths, secrets and the lock of one data folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._lock_descriptor: int | None = None
        self.secrets: dict[str, str] = {}

    def open(self, *, patience_seconds: float = LOCK_PATIENCE_SECONDS) -> None:
        """Creates what is missing and takes the lock.

        The parts of a stack inherit the lock, so a folder is free only when
        the last process of the previous stack has ended; this waits for it.

        Raises:
            StackError: the folder cannot be written, or another stack uses it.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o711)
            if any(self.root.iterdir()) and not (self.root / "lock").exists():
                self._refuse_foreign()
            self._lock(patience_seconds)
            for name in _FOLDERS:
                (self.root / name).mkdir(exist_ok=True, mode=0o700)
            self.secrets = self._load_secrets()
        except OSError as error:
            self.close()
            raise StackError(
                f"cannot use the data folder {self.root}: {error.strerror}."
                " Name another with --data or REFAULT_DATA"
            ) from error

    def close(self) -> None:
        """Releases our lock; parts that still run keep theirs."""
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    @property
    def is_open(self) -> bool:
        """Whether we hold the lock."""
        return self._lock_descriptor is not None

    @property
    def lock_descriptor(self) -> int:
        """The descriptor of the lock, for parts to inherit."""
        if self._lock_descriptor is None:
            raise StackError(f"the data folder {self.root} is not open")
        return self._lock_descriptor

    def path(self, *names: str) -> Path:
        """A path in the folder."""
        return self.root.joinpath(*names)

    def log_path(self, part: str) -> Path:
        """The log of a part; one that has grown large becomes ``PART.log.1``."""
        path = self.path("logs", f"{part}.log")
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > LOG_SIZE_MAX_BYTES:
                path.replace(path.with_suffix(".log.1"))
        return path

    def write_private(self, path: Path, text: str) -> None:
        """Writes a file only the owner can read, in one step."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        temporary.replace(path)

    def _refuse_foreign(self) -> None:
        # The .refault of a checkout may hold compiled kernels before a stack has run in it.
        if {path.name for path in self.root.iterdir()} <= {"cache"}:
            return
        raise StackError(
            f"{self.root} holds other files."
            " Name an empty or a new folder with --data or REFAULT_DATA"
        )

    def _lock(self, patience_seconds: float) -> None:
        path = self.root / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = path.read_text().strip()
                # A live starter holds it on purpose; we wait only for the parts a dead one left.
                if time.monotonic() > deadline or _is_alive(holder):
                    os.close(descriptor)
                    raise StackError(
                        f"the data folder {self.root} is in use by process {holder or 'unknown'}."
                        " Stop that one first, or name another folder with --data"
                    ) from None
                time.sleep(0.1)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock_descriptor = descriptor

    def _load_secrets(self) -> dict[str, str]:
        path = self.root / "secrets.json"
        wanted = ("postgres_admin", "postgres", "broker")
        known: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError):
            try:
                known = json.loads(path.read_text())
            except ValueError as error:
                raise StackError(
                    f"{path} is damaged ({error}). Restore it, or start with another --data folder"
                ) from error
        missing = [name for name in wanted if name not in known]
        if missing:
            # Letters and digits only: they are parts of URLs.
            known |= {name: secrets.token_hex(24) for name in missing}
            self.write_private(path, json.dumps(known, indent=2) + "\n")
        return known


def _is_alive(pid_text: str) -> bool:
    return pid_text.isdigit() and Path("/proc", pid_text).exists()
