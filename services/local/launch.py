"""Executes another program that cannot outlive its starter.

``python launch.py OPTIONS -- PROGRAM ARGUMENTS`` does three things that can
only be done between fork and exec, then replaces itself by PROGRAM, which thus
keeps the process id:

1. If asked, it changes to an unprivileged account: Postgres refuses to be root.
2. If asked, it keeps one capability of root, to search folders the account
   may not enter (a checkout under ``/root``), as an ambient capability; see
   capabilities(7). CAP_DAC_READ_SEARCH is tried first; containers that
   lack it have CAP_DAC_OVERRIDE.
3. It asks the kernel for a signal when its parent dies; see prctl(2).

Run with ``-I -S``: the standard library and nothing else.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x2008_0522

CANNOT_DROP = 113
"""Exit code: the account or the capability is not available."""
CANNOT_REACH = 114
"""Exit code: the account cannot reach one of the ``--probe`` paths; stdout names it."""
PARENT_DEAD = 115
"""Exit code: the parent died before PR_SET_PDEATHSIG was set."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Set(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def die_with_parent(signal_number: int, parent_pid: int) -> None:
    """Requests ``signal_number`` for when the parent dies; exits at once if it has died already."""
    _prctl(PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent_pid:
        os._exit(PARENT_DEAD)


def become(user_id: int, group_id: int, *, keep_search: bool) -> None:
    """Changes to an account for good; raises OSError if the kernel refuses."""
    if keep_search:
        # Capabilities then survive the change of account, and apply in access(2) too, by which
        # Postgres looks for its own programs.
        _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setresgid(group_id, group_id, group_id)
    os.setresuid(user_id, user_id, user_id)
    if keep_search:
        try:
            _keep_only(CAP_DAC_READ_SEARCH)
        except OSError:
            _keep_only(CAP_DAC_OVERRIDE)


def _keep_only(capability: int) -> None:
    """Drops every capability but one, which survives the next exec."""
    mask = 1 << capability
    header = _Header(CAPABILITY_VERSION_3, 0)
    sets = (_Set * 2)(_Set(mask, mask, mask), _Set(0, 0, 0))
    if _libc.capset(ctypes.byref(header), ctypes.byref(sets)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def _prctl(option: int, second: int, third: int = 0) -> None:
    arguments = [ctypes.c_ulong(value) for value in (second, third, 0, 0)]
    if _libc.prctl(option, *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _first_unreachable(paths: list[str]) -> str | None:
    return next((path for path in paths if not os.access(path, os.X_OK)), None)


def main() -> None:
    """Runs the command line; never returns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--user", type=int)
    parser.add_argument("--group", type=int)
    parser.add_argument("--keep-search", action="store_true")
    parser.add_argument("--probe", action="append", default=[])
    parser.add_argument("program", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.user is not None:
        try:
            become(options.user, options.group, keep_search=options.keep_search)
        except OSError as error:
            sys.stdout.write(f"{error}\n")
            sys.exit(CANNOT_DROP)
    # After the change of account, which resets it.
    die_with_parent(options.signal, options.parent)
    unreachable = _first_unreachable(options.probe)
    if unreachable is not None:
        sys.stdout.write(f"{unreachable}\n")
        sys.exit(CANNOT_REACH)
    program = options.program[1:] if options.program[:1] == ["--"] else options.program
    if program:
        # Files of the account are private by default.
        os.umask(0o077)
        os.execv(program[0], program)  # noqa: S606  # no shell is the point


if __name__ == "__main__":
    main()
