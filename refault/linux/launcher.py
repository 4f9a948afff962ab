"""Closes the doors, then becomes the command (:mod:`refault.linux.confine`).

Run as a script by a bare interpreter: it imports nothing of the library.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import struct
import sys

# prctl(2), seccomp(2), landlock(7)
PR_SET_NO_NEW_PRIVS = 38
PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1
SIGKILL = 9

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_FILE, MAKE_REG, TRUNCATE = 1 << 5, 1 << 8, 1 << 14
#: All rights on files of the first version of Landlock; later versions add REFER and TRUNCATE.
FILES_1 = (1 << 13) - 1
READS = EXECUTE | READ_FILE | READ_DIR
WRITES = READS | WRITE_FILE | REMOVE_FILE | MAKE_REG
BIND_TCP_CONNECT_TCP = 3
_FILE_ONLY = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE

#: seccomp: numbers of x86-64's system calls that no compiler and no program here needs.
_FORBIDDEN = {
    **dict.fromkeys(range(41, 56), "network"),  # socket .. getsockopt
    # No second process and no thread: one command does one thing.
    56: "clone",
    57: "fork",
    58: "vfork",
    101: "ptrace",
    155: "pivot_root",
    161: "chroot",
    165: "mount",
    166: "umount2",
    169: "reboot",
    175: "init_module",
    176: "delete_module",
    246: "kexec_load",
    248: "add_key",
    249: "request_key",
    250: "keyctl",
    272: "unshare",
    288: "accept4",
    298: "perf_event_open",
    299: "recvmmsg",
    307: "sendmmsg",
    308: "setns",
    310: "process_vm_readv",
    311: "process_vm_writev",
    313: "finit_module",
    321: "bpf",
    323: "userfaultfd",
    425: "io_uring_setup",
    426: "io_uring_enter",
    427: "io_uring_register",
    428: "open_tree",
    429: "move_mount",
    430: "fsopen",
    435: "clone3",
    438: "pidfd_getfd",
}
#: What a program that only computes may call, and the one execve(2) that starts it.
_PROGRAM = (
    0,
    1,
    3,
    5,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    21,
    25,
    28,
    59,
    60,
    63,
    97,
    131,
    158,
    186,
    202,
    218,
    228,
    230,
    231,
    234,
    262,
    267,
    273,
    302,
    318,
    334,
    332,
    39,
    89,
    99,
)
_LOADER = (2, 4, 8, 16, 17, 24, 72, 79, 102, 104, 107, 108, 157, 200, 204, 257, 283)
_ARCH_X86_64 = 0xC000003E
_X32 = 0x40000000  # from here on the same calls once more, under other numbers
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """``launcher.py SETTINGS -- COMMAND…``."""
    settings = json.loads(sys.argv[1])
    command = sys.argv[3:]
    program = command[0]
    if "/" not in program:
        folders = [
            folder for folder in ("/usr/bin", "/bin") if os.path.exists(f"{folder}/{program}")
        ]
        program = f"{folders[0]}/{program}" if folders else sys.exit(f"{program}: not found")
    _libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    _limit(settings["limits"])
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        sys.exit("confine: privileges cannot be given up")
    close_files(settings["reads"], settings["writes"])
    filter_calls(is_program=settings["is_program"], is_dynamic=settings["is_dynamic"])
    # Not execvp: it would import modules that cannot be read any more.
    os.execve(program, command, dict(os.environ))


def _limit(limits: dict[str, int]) -> None:
    # Its own limits instead of those of the process it was started by.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    for kind, value in (
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_CORE, 0),
    ):
        if value or kind == resource.RLIMIT_CORE:
            resource.setrlimit(kind, (value, value))


def landlock_version() -> int:
    """The version of Landlock's interface; 0 where there is none."""
    found = _libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, CREATE_RULESET_VERSION)
    return max(0, int(found))


def close_files(reads: list[str], writes: list[str]) -> None:
    """Leave nothing but these folders and files to read, and to write."""
    version = landlock_version()
    if not version:
        return
    handled = FILES_1 | (1 << 13 if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    network = BIND_TCP_CONNECT_TCP if version >= 4 else 0
    attributes = struct.pack("QQ", handled, network)[: 16 if version >= 4 else 8]
    ruleset = _libc.syscall(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        sys.exit(f"confine: Landlock: {os.strerror(ctypes.get_errno())}")
    truncate = TRUNCATE if version >= 3 else 0
    for paths, rights in ((reads, READS), (writes, WRITES | truncate), (["/dev/null"], 6)):
        for path in paths:
            _allow(ruleset, path, rights & handled)
    if _libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0):
        sys.exit(f"confine: Landlock: {os.strerror(ctypes.get_errno())}")
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):  # noqa: PTH112
        rights &= _FILE_ONLY
    rule = struct.pack("=Qi", rights, beneath)
    if _libc.syscall(LANDLOCK_ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0):
        sys.exit(f"confine: Landlock: {path}: {os.strerror(ctypes.get_errno())}")
    os.close(beneath)


def filter_calls(*, is_program: bool, is_dynamic: bool) -> None:
    """Install the filter; what a program is not allowed kills it (SIGSYS)."""
    code = [
        _statement(0x20, 4),  # load the architecture
        _jump(0x15, _ARCH_X86_64, 1, 0),
        _statement(0x06, _KILL),
        _statement(0x20, 0),  # load the number
        _jump(0x35, _X32, 0, 1),
        _statement(0x06, _KILL),
    ]
    if is_program:
        for number in (*_PROGRAM, *(_LOADER if is_dynamic else ())):
            code += [_jump(0x15, number, 0, 1), _statement(0x06, _ALLOW)]
        code.append(_statement(0x06, _KILL))
    else:
        for number in _FORBIDDEN:
            code += [_jump(0x15, number, 0, 1), _statement(0x06, _ERRNO | errno.EPERM)]
        code.append(_statement(0x06, _ALLOW))
    program = b"".join(code)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
    if _libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0):
        sys.exit(f"confine: seccomp: {os.strerror(ctypes.get_errno())}")


def _statement(code: int, value: int) -> bytes:
    return struct.pack("HBBI", code, 0, 0, value)


def _jump(code: int, value: int, is_so: int, is_not: int) -> bytes:
    return struct.pack("HBBI", code, is_so, is_not, value)


if __name__ == "__main__":
    main()
