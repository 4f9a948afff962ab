"""The compiler: which one, with which flags, and one unit or one program at a time.

It works in a folder laid out the same for every build, so that nothing in an object tells where it
was made::

    work/
    ├── tree/        what was read of the tree, patched; or a link to it
    ├── original/    a link to the tree: for what a patch includes that was not read before
    ├── generated/   refault.linux.headers
    └── runtime/     refault/linux/runtime
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from refault.errors import BuildFailed, NoCompiler
from refault.linux.confine import TOOLCHAIN, Confinement, Ended, Limits, run_confined
from refault.linux.steps import output_of, replaced, steps_of
from refault.linux.units import ALLOCATED, PROGRAM_HALF

_INCLUDES = (
    "generated/arch/x86/include/generated",
    "tree/arch/x86/include",
    "generated/include",
    "tree/include",
    "generated/arch/x86/include/generated/uapi",
    "tree/arch/x86/include/uapi",
    "generated/include/uapi",
    "generated/include/generated/uapi",
    "tree/include/uapi",
    "tree/virt/kvm",
    "tree/arch/x86/kvm",
)
_INCLUDED = (
    "tree/include/linux/compiler-version.h",
    "tree/include/linux/kconfig.h",
    "runtime/override.h",
    "tree/include/linux/compiler_types.h",
)
_CODE = (
    *("-O2", "-g1", "-fno-pic", "-fno-pie", "-mno-red-zone", "-fcf-protection=none"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-strict-aliasing"),
    *("-fno-omit-frame-pointer",),
)
#: What kbuild compiles a 64-bit kernel with, less what only a real one needs.
_KERNEL = (
    *("-nostdinc", "-D__KERNEL__", "-std=gnu11", "-mcmodel=small"),
    *("-mno-sse", "-mno-sse2", "-mno-mmx", "-mno-avx", "-fno-common", "-fshort-wchar"),
    *("-fno-delete-null-pointer-checks", "-fno-strict-overflow", "-fno-allow-store-data-races"),
    *("-funsigned-char", "-fms-extensions", "-w", "-Werror=implicit-function-declaration"),
    *('-DKBUILD_MODNAME="kvm"', '-DKBUILD_BASENAME="kvm"', '-DKBUILD_MODFILE="kvm"'),
    "-D__KBUILD_MODNAME=kmod_kvm",
)
#: Names and lines in objects are the tree's own, wherever it lies.
_NAMES = ("-ffile-prefix-map=tree/=", "-ffile-prefix-map=original/=")
_SANITIZED = ("-fsanitize=address", "--param=asan-stack=0", "--param=asan-globals=0")
#: Of ours that reach nothing the tree allocates: only there are accesses checked.
_UNWATCHED = ("--param=asan-instrument-reads=0", "--param=asan-instrument-writes=0")

#: Raised by hand when the flags of a unit change.
FLAGS_VERSION = 6
_UNIT_LIMITS = Limits(cpu_seconds=120, memory_bytes=2 << 30, file_bytes=64 << 20)
_RELOCATIONS_BYTES = 64 << 20
_UNDEFINED = re.compile(r"undefined reference to [`'\"]([^'`\"]+)['`\"]")


@dataclasses.dataclass(frozen=True, slots=True)
class Compiler:
    """One C compiler: its path, what it calls itself, and its own headers."""

    path: str
    version: str
    headers: str


@functools.cache
def find_compiler() -> Compiler:
    """``$CC``, or ``gcc``.

    Raises:
        NoCompiler: there is none, or it is not GCC.
    """
    path = os.environ.get("CC", "gcc")
    try:
        version = _ask(path, "--version").splitlines()[0]
        headers = _ask(path, "-print-file-name=include").strip()
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise NoCompiler(
            f"no C compiler ({path}): {error}; on Debian and Ubuntu: apt-get install gcc libc6-dev"
        ) from error
    if "clang" in version.lower():
        raise NoCompiler(f"{path} is {version}: only GCC is supported; set CC=gcc")
    return Compiler(path, version, headers)


def _ask(path: str, question: str) -> str:
    done = subprocess.run([path, question], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


def flags(compiler: Compiler, work: Path, *, is_tree: bool, sanitize: bool) -> list[str]:
    """The flags of a unit that sees the tree's headers."""
    included = [name for name in _INCLUDED if (work / name).is_file()]
    return [
        *_CODE,
        *_KERNEL,
        *_NAMES,
        *("-isystem", compiler.headers),
        *(f"-I{folder}" for folder in _INCLUDES),
        *(f"-I{folder.replace('tree/', 'original/')}" for folder in _INCLUDES if "tree/" in folder),
        *(word for name in included for word in ("-include", name)),
        *(() if is_tree else ("-DRF_RUNTIME", "-Iruntime", "-Igenerated")),
        *(_SANITIZED if is_tree and sanitize else ()),
    ]


def program_flags(name: str, *, sanitize: bool) -> list[str]:
    """The flags of a unit of the program's own half."""
    watched = () if name in ALLOCATED else _UNWATCHED
    return [
        *_CODE,
        *("-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Iruntime", "-Igenerated"),
        *(("-DRF_SANITIZED", *_SANITIZED, *watched) if sanitize else ()),
    ]


def flags_of(compiler: Compiler, work: Path, unit: str, *, sanitize: bool) -> list[str]:
    """The flags of any unit; ours are named ``runtime/…``."""
    is_ours = unit.startswith("runtime/")
    name = unit.removeprefix("runtime/")
    if is_ours and name in PROGRAM_HALF:
        return program_flags(name, sanitize=sanitize)
    return flags(compiler, work, is_tree=not is_ours, sanitize=sanitize)


def compile_unit(
    compiler: Compiler,
    work: Path,
    unit: str,
    out: Path,
    *,
    sanitize: bool = False,
    to_assembly: bool = False,
) -> list[str]:
    """Compile ``unit`` (below ``work``) to ``out``; answers the files it read, below ``work``.

    Raises:
        BuildFailed: with the compiler's messages, places named as the user's tree names them.
    """
    depfile = out.with_suffix(".d")
    command = [
        compiler.path,
        *flags_of(compiler, work, unit, sanitize=sanitize),
        # Where it is compiled is nobody's business, and another place each time.
        f"-ffile-prefix-map={work.resolve()}=.",
        *("-MD", "-MF", str(depfile)),
        "-S" if to_assembly else "-c",
        *(unit, "-o", str(out)),
    ]
    done = _run(command, _confinement(compiler, work, out.parent), work)
    if done.returncode:
        raise BuildFailed(_messages(done.stderr) or f"{unit}: {done.ended}", unit)
    return _read_files(depfile.read_text(encoding="utf-8"), work)


def link(
    compiler: Compiler, work: Path, objects: Sequence[Path], out: Path, *, sanitize: bool = False
) -> list[str]:
    """Link the program; answers what neither the tree's objects nor ours define.

    Each of those becomes a stub that stops the run with its name.
    """
    words = [str(path) for path in objects]
    how = ["-no-pie", *(["-fsanitize=address"] if sanitize else ["-static"])]
    confinement = _confinement(compiler, work, out.parent)
    first = _run([compiler.path, *how, "-o", str(out), *words], confinement, work)
    missing = sorted(set(_UNDEFINED.findall(first.stderr)))
    if first.returncode and not missing:
        raise BuildFailed(f"the program cannot be linked: {_messages(first.stderr)}", "link")
    if not missing:
        return []
    called = _called(words, confinement, work)
    source = out.parent / "stubs.s"
    source.write_text(
        stubs(
            [name for name in missing if name in called],
            [name for name in missing if name not in called],
        )
    )
    stub = source.with_suffix(".o")
    for command in (
        [compiler.path, "-c", str(source), "-o", str(stub)],
        [compiler.path, *how, "-o", str(out), *words, str(stub)],
    ):
        done = _run(command, confinement, work)
        if done.returncode:
            raise BuildFailed(f"the program cannot be linked: {_messages(done.stderr)}", "link")
    return missing


def _run(command: Sequence[str], confinement: Confinement, work: Path) -> Ended:
    """Run what the driver would, each by itself, up to the first that fails."""
    # The linker's output was given in full; what is passed on lies where it may be written.
    between = str(confinement.writes[0] / f"{Path(output_of(command)).stem}.s")
    steps = steps_of(command, work)
    for step in steps[:-1]:
        steps = [replaced(each, output_of(step), between) for each in steps]
    for step in steps:
        done = run_confined(step, confinement, cwd=work)
        if done.returncode:
            break
    return done


def stubs(functions: Sequence[str], variables: Sequence[str]) -> str:
    """Assembly: functions that tell their name (``rf_missing``) and answer 0; zeroed variables."""
    lines = ['.section .note.GNU-stack,"",@progbits', ".text"]
    for number, name in enumerate(functions):
        lines += [
            f".weak {name}",
            f".type {name},@function",
            f"{name}: movl $.Lname{number}, %edi",
            "jmp refault_missing_stub",
            f'.section .rodata\n.Lname{number}: .asciz "{name}"\n.text',
        ]
    lines += [
        "refault_missing_stub: subq $8, %rsp",
        "call rf_missing",
        "addq $8, %rsp",
        "xorl %eax, %eax",
        "ret",
        ".bss",
    ]
    for name in variables:
        lines += [f".weak {name}", ".balign 64", f"{name}: .zero 4096"]
    return "\n".join(lines) + "\n"


def _called(objects: Sequence[str], confinement: Confinement, work: Path) -> set[str]:
    """Symbols that something calls: those are functions."""
    done = run_confined(
        ["readelf", "-rW", *objects], confinement, cwd=work, output_bytes=_RELOCATIONS_BYTES
    )
    return {
        line.split()[4]
        for line in done.stdout.splitlines()
        if "R_X86_64_PLT32" in line and len(line.split()) > 4  # noqa: PLR2004
    }


def _confinement(compiler: Compiler, work: Path, out: Path) -> Confinement:
    return Confinement(
        reads=(*TOOLCHAIN, work, (work / "original").resolve(), Path(compiler.headers)),
        writes=(out,),
        limits=_UNIT_LIMITS,
    )


def _read_files(rule: str, work: Path) -> list[str]:
    """The prerequisites of a rule that lie below ``work``."""
    # A file is included as "include/trace/../../arch/x86/kvm/…" too.
    names = map(os.path.normpath, rule.replace("\\\n", " ").split(":", 1)[1].split())
    return sorted({name for name in names if not name.startswith("/") and (work / name).is_file()})


def _messages(text: str, lines_max: int = 12) -> str:
    """The compiler's errors, each with its place, without the way there."""
    lines = [line for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "error:" in line or "Error:" in line] or lines
    return "\n".join(
        line.removeprefix("tree/").removeprefix("original/") for line in told[:lines_max]
    )
