"""A real guest's parts, found or skipped by name."""

import os
import shutil
from pathlib import Path

import pytest

from refault.capture.kernels import find_kernel
from refault.capture.qemu import find_qemu
from refault.errors import CaptureError

GUESTS = Path(".cache/guests").resolve()


@pytest.fixture(autouse=True)
def kept_qemu(monkeypatch):
    """The QEMU that `make guests` keeps where the machine has none."""
    kept = GUESTS / "qemu" / "bin"
    if kept.is_dir():
        monkeypatch.setenv("PATH", f"{kept}:{os.environ['PATH']}")


@pytest.fixture
def kernel():
    """The kernel that `make guests` keeps, or this machine's."""
    kept = sorted(GUESTS.glob("amd64/boot/vmlinuz-*"))
    try:
        return kept[-1] if kept else find_kernel()
    except CaptureError as error:
        pytest.skip(f"no kernel to boot: make guests; {error}")


@pytest.fixture
def busybox():
    """The static busybox that `make guests` keeps, or this machine's."""
    kept = GUESTS / "amd64" / "bin" / "busybox"
    if kept.is_file():
        return kept
    found = shutil.which("busybox")
    if found is None:
        pytest.skip("no static busybox: make guests")
    return Path(found)


@pytest.fixture
def qemu():
    """A QEMU that takes the plugin."""
    try:
        return find_qemu()
    except CaptureError as error:
        pytest.skip(f"no QEMU that captures: {error}")
