"""The headers a configured tree has under ``generated``, made by us from the tree's own files.

======================  =============================================================
autoconf.h              :mod:`refault.linux.settings`
asm wrappers            one line each, as the tree's ``Kbuild`` lists say
bounds.h, rq-offsets.h  constants that the tree's own C files compute (the compiler is asked)
asm-offsets.h           as those, from a file of ours
kvm-x86-ops.h           where the tree has none: its vendor operations, read from their struct
timeconst.h             factors that nothing here multiplies by
others                  constants that nothing here reads, with some value
======================  =============================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from refault.linux.settings import autoconf

#: Below the generated folder, where the compiler looks.
ARCH, ARCH_UAPI, COMMON, COMMON_UAPI = (
    "arch/x86/include/generated",
    "arch/x86/include/generated/uapi",
    "include",
    "include/uapi",
)
#: What of a tree the headers are made from, besides what the compiler reads.
READS = (
    "Makefile",
    "arch/x86/Kconfig",
    "arch/x86/kvm/Kconfig",
    "virt/kvm/Kconfig",
    "arch/x86/include/asm/Kbuild",
    "include/asm-generic/Kbuild",
    "arch/x86/include/uapi/asm/Kbuild",
    "include/uapi/asm-generic/Kbuild",
    "arch/x86/include/asm/cpufeatures.h",
    "kernel/bounds.c",
    "kernel/sched/rq-offsets.c",
)
_KVM_HOST = "arch/x86/include/asm/kvm_host.h"
_OPERATIONS = "arch/x86/include/asm/kvm-x86-ops.h"
#: Where a tree may ask whether a vendor has an operation, of what is compiled here.
_ASKS = (_KVM_HOST, "arch/x86/kvm/x86.c", "arch/x86/kvm/mmu/mmu.c")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_STRUCT = re.compile(r"^struct kvm_x86_ops \{(.*?)^\};", re.DOTALL | re.MULTILINE)
_ASKED = re.compile(r"\bkvm_x86_ops\.(\w+)\b(?!\()")
_LIST = re.compile(r"(generic|mandatory)-y\s*\+=\s*(\S+\.h)")
_DEFINED = re.compile(r'\.ascii\s+"->(\w+) \$?(-?\d+)')


def write_headers(tree: Path, into: Path) -> None:
    """Everything that needs no compiler."""
    release = release_of(tree)
    for name, text in _fixed(tree, release):
        _write(into / name, text)
    for name, wrapped in _wrappers(tree):
        _write(into / name, f"#include <asm-generic/{wrapped}>\n")


def constants(assembly: str) -> str:
    """A header of the constants that a file of ``DEFINE()`` lines compiled to."""
    lines = [f"#define {name} {value}" for name, value in _DEFINED.findall(assembly)]
    return "\n".join(["#pragma once", *lines, ""])


def release_of(tree: Path) -> str:
    """The release the tree's Makefile states, as ``6.1.192``."""
    return release_in((tree / "Makefile").read_text(encoding="utf-8", errors="replace"))


def release_in(makefile: str) -> str:
    """The release a Makefile's text states."""
    text = makefile[:4000]
    parts = [_makefile_word(text, name) for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    return ".".join(part or "0" for part in parts) + _makefile_word(text, "EXTRAVERSION")


def _makefile_word(text: str, name: str) -> str:
    found = re.search(rf"^{name}\s*=[ \t]*(\S*)", text, re.MULTILINE)
    return found[1] if found else ""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _fixed(tree: Path, release: str) -> Iterator[tuple[str, str]]:
    numbers = [int(number) for number in re.findall(r"\d+", release)[:3]]
    code = (numbers[0] << 16) + (numbers[1] << 8) + min(255, numbers[2])
    yield f"{COMMON}/generated/autoconf.h", autoconf(tree)
    yield f"{COMMON}/generated/timeconst.h", timeconst()
    yield f"{COMMON}/generated/compile.h", ""
    yield f"{COMMON}/generated/utsrelease.h", f'#define UTS_RELEASE "{release}"\n'
    number_of = "(((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))"
    version = f"#define LINUX_VERSION_CODE {code}\n#define KERNEL_VERSION(a,b,c) {number_of}\n"
    yield f"{COMMON_UAPI}/linux/version.h", version
    yield f"{ARCH}/asm/unistd_32_ia32.h", "#define __NR_ia32_restart_syscall 0\n"
    yield f"{ARCH}/asm/unistd_64_x32.h", ""
    yield f"{ARCH}/asm/syscalls_64.h", ""
    yield f"{ARCH}/asm/syscalls_32.h", ""
    for name in ("32", "64", "x32"):
        yield f"{ARCH_UAPI}/asm/unistd_{name}.h", "#define __NR_syscalls 512\n"
    yield f"{ARCH}/asm/cpufeaturemasks.h", feature_masks(tree)
    if not (tree / _OPERATIONS).is_file():
        yield f"{ARCH}/asm/kvm-x86-ops.h", vendor_operations(tree)


def _wrappers(tree: Path) -> Iterator[tuple[str, str]]:
    for kbuilds, own, into in (
        (
            ("arch/x86/include/asm/Kbuild", "include/asm-generic/Kbuild"),
            "arch/x86/include/asm",
            f"{ARCH}/asm",
        ),
        (
            ("arch/x86/include/uapi/asm/Kbuild", "include/uapi/asm-generic/Kbuild"),
            "arch/x86/include/uapi/asm",
            f"{ARCH_UAPI}/asm",
        ),
    ):
        for kbuild in kbuilds:
            path = tree / kbuild
            if path.is_file():
                for _, name in _LIST.findall(path.read_text(encoding="utf-8")):
                    if not (tree / own / name).is_file():
                        yield f"{into}/{name}", name


def timeconst() -> str:
    """The factors of ``kernel/time/timeconst.bc``, of a kernel that never converts a time.

    Time stands still here (runtime/answers.c), so any factor does: a shift by 32 bits.
    """
    names = [
        pair for unit in ("MSEC", "USEC", "NSEC") for pair in (f"HZ_TO_{unit}", f"{unit}_TO_HZ")
    ]
    parts = (("MUL32", "1ULL"), ("ADJ32", "0ULL"), ("SHR32", "32"), ("NUM", "1"), ("DEN", "1"))
    lines = [f"#define {name}_{part} {value}" for name in names for part, value in parts]
    return "\n".join(["#pragma once", *lines, ""])


def vendor_operations(tree: Path) -> str:
    """The list that trees have as ``asm/kvm-x86-ops.h``, of one that has the struct alone.

    One that the tree asks for before it calls it is optional, and not there.
    """
    texts = [
        _COMMENT.sub("", (tree / name).read_text(encoding="utf-8", errors="replace"))
        for name in _ASKS
        if (tree / name).is_file()
    ]
    found = _STRUCT.search("\n".join(texts))
    names = re.findall(r"\(\*(\w+)\)\(", found[1]) if found else ()
    asked = {name for text in texts for name in _ASKED.findall(text)}
    lines = (f"KVM_X86_OP{'_OPTIONAL' if name in asked else ''}({name})" for name in names)
    return "\n".join(lines) + "\n"


def feature_masks(tree: Path) -> str:
    """Which words of CPU features are required or never there: none, of as many as the tree has."""
    path = tree / "arch/x86/include/asm/cpufeatures.h"
    if not path.is_file():
        return ""
    found = re.search(r"#define\s+NCAPINTS\s+(\d+)", path.read_text(encoding="utf-8"))
    words = int(found[1]) if found else 0
    lines = [
        f"#define {kind}_MASK{word} 0" for kind in ("REQUIRED", "DISABLED") for word in range(words)
    ]
    lines += [f"#define {kind}_MASK_BIT_SET(x) 0" for kind in ("REQUIRED", "DISABLED")]
    return "#pragma once\n" + "\n".join(lines) + "\n"
