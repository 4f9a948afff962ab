"""Which instructions the plugin recognises, by its own header compiled into a small program."""

import shutil
import subprocess
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "refault" / "capture" / "plugin"
PROGRAM = r"""
#include "instructions.h"
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **words)
{
    uint8_t bytes[32] = {0};
    size_t size = 0;
    instruction i;
    bool is_long = words[1][0] == '6';
    for (char *at = words[2]; *at; at += 2) {
        char two[3] = {at[0], at[1], 0};
        bytes[size++] = strtoul(two, NULL, 16);
    }
    if (loads_segment(bytes, size))
        printf("segment\n");
    else if (is_special(bytes, size, 0x1000, is_long, &i))
        printf("%d %d %d %d %d %d %lld\n", i.what, i.number, i.source, i.base, i.index, i.scale,
               (long long)i.displacement);
    else
        printf("nothing\n");
    return count != 3;
}
"""
CR, INVLPG, MSR, IDT, INVPCID, MARK, MSW = 1, 2, 3, 4, 5, 6, 8
NONE, NEXT = -1, 16


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    if not (compiler := shutil.which("cc") or shutil.which("gcc")):
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("instructions")
    source, program = folder / "told.c", folder / "told"
    source.write_text(PROGRAM)
    subprocess.run([compiler, f"-I{PLUGIN}", "-Wall", "-o", program, source], check=True)

    def ask(bits, code):
        words = [program, str(bits), code.replace(" ", "")]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()

    return ask


@pytest.mark.parametrize(
    ("bits", "code", "what"),
    [
        (64, "0f 22 d8", (CR, 3, 0)),  # mov cr3, rax
        (64, "41 0f 22 da", (CR, 3, 10)),  # mov cr3, r10
        (64, "44 0f 22 c0", (CR, 8, 0)),  # mov cr8, rax
        (32, "0f 22 e1", (CR, 4, 1)),  # mov cr4, ecx
        (64, "0f 30", (MSR,)),  # wrmsr
        (64, "0f 01 1f", (IDT,)),  # lidt [rdi]
        (64, "0f 01 f0", (MSW,)),  # lmsw ax
        (64, "66 0f 38 82 08", (INVPCID,)),
        (64, "0f 1f 84 00 10 00 52 54", (MARK, 16)),
        (32, "0f 1f 84 00 01 00 52 54", (MARK, 1)),
    ],
)
def test_what_changes_translations_is_recognised(told, bits, code, what):
    assert tuple(map(int, told(bits, code)))[: len(what)] == what


@pytest.mark.parametrize(
    ("bits", "code", "base", "index", "scale", "displacement"),
    [
        (64, "0f 01 3f", 7, NONE, 0, 0),  # [rdi]
        (64, "41 0f 01 3f", 15, NONE, 0, 0),  # [r15]
        (64, "0f 01 7f f8", 7, NONE, 0, -8),  # [rdi - 8]
        (64, "0f 01 bf 00 10 00 00", 7, NONE, 0, 0x1000),
        (64, "0f 01 3c 8a", 2, 1, 2, 0),  # [rdx + 4 rcx]
        (64, "4b 0f 01 3c c8", 8, 9, 3, 0),  # [r8 + 8 r9]
        (64, "0f 01 3c 24", 4, NONE, 0, 0),  # [rsp]
        (64, "0f 01 3c 25 00 00 40 00", NONE, NONE, 0, 0x40_0000),
        (64, "0f 01 3d 10 00 00 00", NEXT, NONE, 0, 16),  # [rip + 16]
        (32, "0f 01 3d 10 00 00 00", NONE, NONE, 0, 16),  # [16]
        (32, "0f 01 3b", 3, NONE, 0, 0),  # [ebx]
    ],
)
def test_the_address_of_invlpg_is_read(told, bits, code, base, index, scale, displacement):
    found = list(map(int, told(bits, code)))
    assert found[0] == INVLPG
    assert found[3:5] == [base, index]
    if index != NONE:
        assert found[5] == scale
    assert found[6] == displacement


@pytest.mark.parametrize("code", ["8e e8", "66 8e d8", "41 8e e8"])
def test_a_load_of_a_segment_register_from_a_register_is_recognised(told, code):
    assert told(64, code) == ["segment"]


@pytest.mark.parametrize(
    ("bits", "code"),
    [
        (64, "0f 01 f8"),  # swapgs
        (64, "0f 01 07"),  # sgdt [rdi]
        (64, "0f 01 17"),  # lgdt [rdi]
        (64, "0f 20 d8"),  # mov rax, cr3
        (64, "0f 1f 84 00 00 00 00 00"),  # a NOP of compilers
        (64, "0f 1f 84 00 10 00 52"),  # cut
        (64, "0f 38 82 08"),  # without 66
        (32, "41"),  # inc ecx
        (64, "8e 28"),  # mov gs, [rax]: an access of its own
        (64, "90"),
        (64, "0f"),
    ],
)
def test_others_are_not(told, bits, code):
    assert told(bits, code) == ["nothing"]
