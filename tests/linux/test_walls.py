"""Other people's C code, and the compiler that reads it: what they try, and what comes of it."""

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from refault.engines.kernel import host as kernel_host
from refault.engines.kernel import judge
from refault.engines.kernel.channel import CHANNEL, SKIPPED, WITNESSED
from refault.errors import BuildFailed, PatchRefused, ReplayCancelled, ReplayRefused, ReplayTooLarge
from refault.linux import compiler
from refault.linux.compiler import TOOLCHAIN
from refault.linux.confine import Confinement, Limits, run_confined
from refault.linux.launcher import landlock_version
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay.compile.jit import INTERPRETED
from refault.replay.notes import Notes
from refault.replay.session import replay
from tests.fixtures.trees import at_the_end, in_function
from tests.linux.test_runs import WORKLOAD, first, of
from tests.patience import eventually

SMALL = Limits(cpu_seconds=5, memory_bytes=512 << 20, file_bytes=1 << 20)

needs_landlock = pytest.mark.skipif(
    not landlock_version(), reason="no Landlock in this kernel: files are not closed off"
)


def confined(command, tmp_path, **limits):
    confinement = Confinement(TOOLCHAIN, (tmp_path,), SMALL, **limits)
    return run_confined(command, confinement, cwd=tmp_path)


# --- the walls by themselves ----------------------------------------------------------------


@needs_landlock
def test_no_file_but_those_named_can_be_read(tmp_path):
    secret = tmp_path.parent / "secret"
    secret.write_text("secret")
    ended = confined(["cat", str(secret)], tmp_path)
    assert ended.returncode != 0
    assert "secret\n" not in ended.stdout
    assert "ermission denied" in ended.stderr


@needs_landlock
def test_no_file_but_in_its_own_folder_can_be_written(tmp_path):
    elsewhere = tmp_path.parent / "elsewhere"
    assert confined(["touch", str(elsewhere)], tmp_path).returncode != 0
    assert not elsewhere.exists()
    assert confined(["touch", "mine"], tmp_path).returncode == 0
    assert (tmp_path / "mine").exists()


def test_there_is_no_network(tmp_path):
    ended = confined(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9"], tmp_path)
    assert "not permitted" in ended.stderr


def test_nothing_of_our_environment_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("REFAULT_TOKEN", "secret")
    assert "secret" not in confined(["env"], tmp_path).stdout


def test_endless_output_is_cut_off(tmp_path):
    ended = confined(["yes"], tmp_path)
    assert len(ended.stdout) <= 1 << 20
    assert ended.returncode < 0


def test_a_file_grows_no_larger_than_it_may(tmp_path):
    ended = confined(["dd", "if=/usr/bin/gcc", "of=large", "bs=1M", "count=8"], tmp_path)
    assert ended.returncode != 0
    assert (tmp_path / "large").stat().st_size <= 1 << 20


def test_processor_time_is_limited(tmp_path):
    ended = run_confined(
        ["bash", "-c", "while :; do :; done"],
        Confinement(TOOLCHAIN, (tmp_path,), Limits(1, 0, 0)),
        cwd=tmp_path,
    )
    assert ended.returncode < 0
    assert "processor time" in ended.ended


def test_a_program_that_only_computes_may_start_nothing(tmp_path):
    ended = confined(["bash", "-c", "/bin/true & wait"], tmp_path, is_program=True)
    assert ended.returncode != 0


def test_a_fork_bomb_forks_not_once(tmp_path):
    ended = confined(["bash", "-c", "bomb() { bomb | bomb & }; bomb; echo over"], tmp_path)
    assert ended.stdout != "over\n" or "fork" in ended.stderr
    assert "not permitted" in ended.stderr
    assert "bash" not in running(os.getpid())


THREAD = "import threading as t; x = t.Thread(target=print); x.start()"


def test_there_is_no_second_thread_either(tmp_path):
    ended = confined(["python3", "-I", "-S", "-c", THREAD], tmp_path)
    assert "can't start new thread" in ended.stderr


def test_a_compiler_that_hangs_is_ended_by_the_clock(tmp_path):
    """Waiting uses no processor time."""
    begun = time.monotonic()
    ended = run_confined(
        ["sleep", "600"],
        Confinement(TOOLCHAIN, (tmp_path,), Limits(5, 0, 0, wall_seconds=1)),
        cwd=tmp_path,
    )
    assert ended.returncode < 0
    assert time.monotonic() - begun < 60


# --- what a patch may try when it is compiled -----------------------------------------------


@needs_landlock
@pytest.mark.parametrize(
    "code",
    ['asm(".incbin \\"/etc/passwd\\"");', '#include "/etc/passwd"', '#include "/dev/zero"'],
)
def test_a_patch_reads_no_file_of_the_machine(build, patch_of, code):
    patches = patch_of("6.12", ("Read along", at_the_end(code)))
    with pytest.raises(BuildFailed) as failed:
        build("6.12", patches)
    assert "root:" not in str(failed.value)


def test_output_without_end_is_cut_off_while_it_is_compiled(build, patch_of, monkeypatch):
    """A hundred gigabytes of zeroes: the assembler is ended at what a file may have."""
    monkeypatch.setattr(compiler, "_UNIT_LIMITS", Limits(20, 2 << 30, 8 << 20))
    code = 'asm(".data\\n.rept 100000000\\n.fill 1000, 1, 7\\n.endr\\n.text");'
    with pytest.raises(BuildFailed):
        build("6.12", patch_of("6.12", ("Fill", at_the_end(code))))


def test_macros_without_end_cost_what_a_unit_may_take_and_no_more(build, patch_of, monkeypatch):
    monkeypatch.setattr(compiler, "_UNIT_LIMITS", Limits(20, 1 << 30, 64 << 20))
    levels = "\n".join(f"#define M{n} M{n - 1} M{n - 1} M{n - 1} M{n - 1}" for n in range(1, 24))
    bomb = f"#define M0 +1\n{levels}\nint bomb = 0 M23;"
    patches = patch_of("6.12", ("Grow", at_the_end(bomb)))
    with pytest.raises(BuildFailed):
        build("6.12", patches)


# --- what a patch may try when it runs --------------------------------------------------------

SYSCALL = (
    'asm volatile("syscall" : "=a"(rc) : "a"({}), "D"({}), "S"(0), "d"(0)'
    ' : "rcx", "r11", "memory");'
)


#: What runs before anybody calls it, and what is called by a name that nobody wrote.
EARLY = {
    "constructor": "static void __attribute__((constructor)) early(void) {{ long rc; {} }}",
    "init_array": "static void early(void) {{ long rc; {} }}\n"
    'static void (*first)(void) __attribute__((section(".init_array"), used)) = early;',
    "ifunc": "static void (*chosen(void))(void) {{ long rc; {} return 0; }}\n"
    'void taken(void) __attribute__((ifunc("chosen")));\n'
    "void (*pulled)(void) __attribute__((used)) = taken;",
}


@pytest.mark.parametrize(
    ("how", "call"),
    [
        ("constructor", SYSCALL.format(2, '"/etc/passwd"')),
        ("constructor", SYSCALL.format(57, 0)),
        ("init_array", SYSCALL.format(56, 17)),
        ("ifunc", SYSCALL.format(41, 2)),
    ],
)
def test_what_runs_before_main_runs_inside_the_walls_too(build, patch_of, how, call):
    code = EARLY[how].format(call)
    _, patched = build("6.12", patch_of("6.12", ("Begin early", at_the_end(code))))
    with pytest.raises(ReplayRefused, match="system call that its sandbox forbids"):
        replay(WORKLOAD, [of(patched)])


def test_a_loop_without_end_fails_the_run_and_is_no_result(build, patch_of, monkeypatch):
    monkeypatch.setattr(kernel_host, "CPU_SECONDS", 2)
    loop = "\tfor (;;)\n\t\tbarrier();\n"
    patches = patch_of("6.12", ("Never end", in_function("kvm_mmu_invlpg", first(loop))))
    _, patched = build("6.12", patches)
    with pytest.raises(ReplayRefused, match="processor time"):
        replay(WORKLOAD, [of(patched)])


def test_memory_is_counted_while_it_runs(build, patch_of):
    leak = "\tmemset(vmalloc(1 << 20), 1, 1 << 20);\n"
    patches = patch_of("6.12", ("Leak", in_function("kvm_mmu_invlpg", first(leak))))
    _, patched = build("6.12", patches)
    with pytest.raises(ReplayTooLarge, match="MiB"):
        replay(WORKLOAD, [of(patched)], memory_bytes=256 << 20)


# --- what a program may write into the channel ------------------------------------------------


def judged(kind, *told, cls=0):
    """What comes of two rows of that kind, of which the program tells: (row, code) each."""
    rows = op.empty(2, interpreted=INTERPRETED)
    rows.kind[0] = rows.kind[1] = kind
    rows.cls[0] = rows.cls[1] = cls
    words, small = np.zeros(2, np.int64), np.zeros(2, np.uint8)
    listed = [np.array(column, np.int64) for column in zip(*told, strict=True)] or [words, words]
    tell = judge.Told(np.array([len(told)]), *listed)
    outcomes = judge.Outcomes(small, words, words, words)
    if INTERPRETED:
        tell = judge.Told(*(column.tolist() for column in tell))
        outcomes = judge.Outcomes(*(column.tolist() for column in outcomes))
    log = Notes(kernel_host.tell_livelock).log
    return judge.take(rows, tell, outcomes, 0, 2, 0, log, kernel_host.new_seen())


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (op.LD, out.NONE),
        (op.LD, out.RETURN),
        (op.ST, out.RETURN + 1),
        (op.UNMAP, 0x80),
        (op.LD, SKIPPED + 3),
        (op.INVLPG, 0xFF),
        (op.INVLPG, WITNESSED),
        # What no real guest was seen to reach.
        (op.LD, WITNESSED),
    ],
)
def test_an_outcome_that_cannot_be_is_not_counted(kind, code):
    assert judged(kind, (0, code), (1, code)) == 0


@pytest.mark.parametrize(
    ("kind", "cls", "told"),
    [
        # Left out, though no real guest was seen to reach anything there.
        (op.INVLPG, op.WITNESS_NONE, ()),
        (op.LD, op.WITNESS_NONE, [(0, out.OK)]),
        (op.LD, op.WITNESS_FAULT, [(1, out.PF)]),
        # Told of twice, backwards, or beyond the end.
        (op.LD, op.WITNESS_ACCESS, [(1, out.OK), (1, out.OK)]),
        (op.LD, op.WITNESS_ACCESS, [(1, out.OK), (0, out.OK)]),
        (op.LD, op.WITNESS_ACCESS, [(2, out.OK)]),
    ],
)
def test_rows_told_of_that_cannot_be_are_refused(kind, cls, told):
    assert judged(kind, *told, cls=cls) == 0


def test_a_row_that_is_not_told_of_came_out_as_witnessed():
    assert judged(op.LD, cls=op.WITNESS_ACCESS) == 2
    assert judged(op.LD, (1, out.OK), cls=op.WITNESS_ACCESS) == 2


@pytest.mark.parametrize(
    ("kind", "code"), [(op.LD, out.OK), (op.UNMAP, out.RETURN), (op.LD, SKIPPED)]
)
def test_an_outcome_that_can_be_is(kind, code):
    assert judged(kind, (0, code), (1, code)) == 2


def test_the_table_of_the_channel_is_the_programs():
    text = Path("refault/linux/runtime/channel.h").read_text()
    body = text[text.index("struct rf_channel {") :]
    places = [re.search(rf"\b{name}\b", body).start() for name in CHANNEL.names]
    assert places == sorted(places)


def test_a_run_that_is_broken_off_leaves_no_process(build):
    (base,) = build("6.12")
    with pytest.raises(ReplayCancelled):
        replay(WORKLOAD, [of(base)], is_cancelled=lambda: True)
    eventually(lambda: "kernel" not in running(os.getpid()), "the program to end")


def running(parent):
    """The names of the children that have not ended."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    states = [Path(f"/proc/{child}/stat").read_text() for child in children]
    return [state.split("(")[1].split(")")[0] for state in states if ") Z " not in state]


def test_a_patch_that_makes_a_link_is_refused(build):
    """Whoever copies the tree afterwards would copy what it points to."""
    patch = (
        b"Subject: [PATCH] Look elsewhere\n\n---\n"
        b"diff --git a/arch/x86/kvm/there.h b/arch/x86/kvm/there.h\nnew file mode 120000\n"
        b"--- /dev/null\n+++ b/arch/x86/kvm/there.h\n@@ -0,0 +1 @@\n+/etc/hostname\n"
        b"\\ No newline at end of file\n"
    )
    with pytest.raises(PatchRefused, match="makes a link"):
        build("6.12", [patch])
