import shutil
from pathlib import Path

import pytest

from refault.capture import Wanted, capture
from refault.capture.guest import find_busybox
from refault.capture.programs import elf_bits, with_libraries
from refault.capture.qemu import find_qemu
from refault.capture.toolchain import build_plugin, build_work, find_compiler
from refault.capture.workloads import WORKLOADS, workload_named
from refault.errors import CaptureError

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler"
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_no_qemu_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CaptureError, match=r"there is no qemu-system-x86_64: .*install"):
        find_qemu()


@needs_compiler
@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("undefined symbol: qemu_plugin_mem_get_value", "9.2 or newer"),
        ("plugin requires API version 4, but this QEMU supports only up to version 2",
         "plugin interface 2; 9.2 or newer"),
        ("plugin requires API version 4, but this QEMU supports only a minimum version of 9",
         "is newer than this release knows"),
        ("There is no option group 'plugin'", "does not load into .*must be built with plugins"),
    ],
)  # fmt: skip
def test_a_qemu_that_cannot_do_it_is_told_by_what_it_says(tmp_path, says, told):
    qemu = program(
        tmp_path / "qemu",
        f'[ "$1" = --version ] && echo "QEMU emulator version 7.2" && exit 0\necho "{says}" >&2\n'
        "exit 1",
    )
    with pytest.raises(CaptureError, match=told):
        find_qemu(qemu)


@needs_compiler
def test_a_qemu_of_the_new_interface_gets_the_plugin_built_for_it(tmp_path):
    qemu = program(
        tmp_path / "qemu",
        '[ "$1" = --version ] && echo "QEMU emulator version 11.1" && exit 0\n'
        'case "$*" in *plugin-7.so*) echo "refault plugin interface 7 to 7, x86_64" ;;\n'
        '*) echo "this QEMU supports only a minimum version of 7"; exit 1 ;; esac',
    )
    found = find_qemu(qemu)
    assert (found.api, found.version) == (7, "11.1")
    assert found.plugin.name.endswith("plugin-7.so")


def test_no_compiler_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(CaptureError, match=r"no C compiler .*: "):
        find_compiler()


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(monkeypatch, tmp_path):
    failing = program(
        tmp_path / "cc", '[ "$1" = --version ] && exit 0\necho "capture.c:1: error: no" >&2; exit 1'
    )
    monkeypatch.setenv("CC", failing)
    with pytest.raises(CaptureError, match=r"cannot build capture.c: capture.c:1: error: no"):
        build_plugin(4)
    assert not any((tmp_path / "cache").rglob("*.so"))


@needs_compiler
def test_a_build_is_made_once_for_each_kind(tmp_path):
    first = build_plugin(4)
    times = first.stat().st_mtime_ns
    assert build_plugin(4) == first
    assert first.stat().st_mtime_ns == times
    assert build_plugin(7) != first
    assert elf_bits(build_work(64)) == 64


def test_a_busybox_with_libraries_or_of_the_wrong_size_is_refused(tmp_path):
    with pytest.raises(CaptureError, match="is no program"):
        find_busybox(tmp_path.joinpath("script"), 64) if program(tmp_path / "script", "") else None
    shell = find_shell()
    with pytest.raises(CaptureError, match="needs shared libraries"):
        find_busybox(shell, 64)
    with pytest.raises(CaptureError, match="give a static busybox of 32 bits"):
        find_busybox(shell, 32)


def find_shell():
    found = Path(shutil.which("bash") or shutil.which("sh")).resolve()
    if elf_bits(found) != 64:
        pytest.skip("no 64-bit shell")
    return found


def test_a_program_is_packed_with_what_it_loads():
    shell = find_shell()
    entries = with_libraries(shell)
    assert str(shell) in entries
    assert any("libc" in name for name in entries)
    assert any("ld-linux" in name or "ld64" in name for name in entries)


def test_every_workload_is_named_in_the_error_about_one_that_is_not():
    with pytest.raises(CaptureError, match="boot, fork, exec, gcc, sqlite, python, pressure, many"):
        workload_named("compile")
    assert all(each.title and each.memory_mib for each in WORKLOADS.values())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"workload": "fork", "disk": "x"}, "--workload is for the guest that this command builds"),
        ({"initrd": "none", "kernel": "x"}, "--initrd .*none cannot be read"),
        ({"disk": "none"}, "--disk .*none cannot be read"),
        ({"start": "later"}, "--start later"),
        ({"kernel": "none"}, "none cannot be read"),
    ],
)
def test_what_contradicts_or_is_missing_ends_before_anything_runs(tmp_path, given, told):
    (tmp_path / "x").write_bytes(b"")
    paths = {
        name: tmp_path / value if name in {"disk", "initrd", "kernel"} else value
        for name, value in given.items()
    }
    with pytest.raises(CaptureError, match=told):
        capture(Wanted(name="t", out=tmp_path / "out", **paths))
    assert not (tmp_path / "out").exists()
