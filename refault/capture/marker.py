"""The program that marks a moment from inside a guest: a static ELF file of our own bytes.

``mark N`` (0 to 255) executes a NOP that no compiler emits, ``0f 1f 84 00 NN NN 52 54``, which the
plugin records as a MARK. It needs no C library, and no memory that is both writable and executable:
there is one NOP for each number, and the program jumps to the right one. With ``--start mark``, 1
begins the recording and 2 ends it.
"""

from __future__ import annotations

import struct
from typing import Final

MARKS: Final = 256
_SLOT_BYTES: Final = 16
_BASE: Final = 0x0040_0000

#: The first argument's decimal digits to eax, then a jump to the NOP of that number. What is no
#: number up to 255 ends the program with status 2.
_CODE_64: Final = bytes.fromhex(
    "488b0424 4883f802 7532"  # mov rax, [rsp] │ cmp rax, 2 │ jne wrong
    "488b742410 31c0"  # mov rsi, [rsp + 16] │ xor eax, eax
    "0fb60e 83e930 83f909 770a"  # next: movzx ecx, byte [rsi] │ sub ecx, '0' │ cmp ecx, 9 │ ja done
    "6bc00a 01c8 48ffc6 ebeb"  # imul eax, eax, 10 │ add eax, ecx │ inc rsi │ jmp next
    "3dff000000 770f"  # done: cmp eax, 255 │ ja wrong
    "c1e004 488d0d19000000 4801c1 ffe1"  # shl eax, 4 │ lea rcx, [slots] │ add rcx, rax │ jmp rcx
    "bf02000000 eb02"  # wrong: mov edi, 2 │ jmp leave
    "31ff"  # finish: xor edi, edi
    "b83c000000 0f05"  # leave: mov eax, SYS_exit │ syscall
    "0f1f4000"  # slots begin at 0x50
)
_FINISH_64: Final = 0x43
_CODE_32: Final = bytes.fromhex(
    "8b0424 83f802 7533"  # mov eax, [esp] │ cmp eax, 2 │ jne wrong
    "8b742408 31c0"  # mov esi, [esp + 8] │ xor eax, eax
    "0fb60e 83e930 83f909 7708"  # next: as above
    "6bc00a 01c8 46 ebed"  # … │ inc esi │ jmp next
    "3dff000000 7713"  # done: cmp eax, 255 │ ja wrong
    "c1e004 e800000000 59"  # shl eax, 4 │ call here │ here: pop ecx
    "8d8920000000 01c1 ffe1"  # lea ecx, [ecx + slots - here] │ add ecx, eax │ jmp ecx
    "bb02000000 eb02"  # wrong: mov ebx, 2 │ jmp leave
    "31db"  # finish: xor ebx, ebx
    "b801000000 cd80"  # leave: mov eax, SYS_exit │ int 0x80
    "8d742600 90"  # slots begin at 0x50
)
_FINISH_32: Final = 0x42

# The ELF header and its one program header, which maps the whole file readable and executable.
_HEADER_64: Final = struct.Struct("<16sHHIQQQIHHHHHHIIQQQQQQ")
_HEADER_32: Final = struct.Struct("<16sHHIIIIIHHHHHHIIIIIIII")
_BITS_64: Final = 64


def marker(bits: int) -> bytes:
    """The ELF file for guests of 64 or 32 bits."""
    if bits == _BITS_64:
        return _elf_64(_CODE_64 + _slots(len(_CODE_64), _FINISH_64))
    return _elf_32(_CODE_32 + _slots(len(_CODE_32), _FINISH_32))


def _slots(begin: int, finish: int) -> bytes:
    """One NOP for each number, and after each a jump to ``finish``; both are bytes of the code."""
    slots = b""
    for number in range(MARKS):
        nop = b"\x0f\x1f\x84\x00" + number.to_bytes(2, "little") + b"RT"
        after = begin + len(slots) + len(nop) + 5
        slots += (nop + b"\xe9" + struct.pack("<i", finish - after)).ljust(_SLOT_BYTES, b"\x90")
    return slots


def _elf_64(code: bytes) -> bytes:
    size = _HEADER_64.size
    whole = size + len(code)
    ident = b"\x7fELF\x02\x01\x01"
    kind = (2, 62, 1, _BASE + size, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = (1, 5, 0, _BASE, _BASE, whole, whole, 0x1000)
    return _HEADER_64.pack(ident, *kind, *segment) + code


def _elf_32(code: bytes) -> bytes:
    size = _HEADER_32.size
    whole = size + len(code)
    ident = b"\x7fELF\x01\x01\x01"
    kind = (2, 3, 1, _BASE + size, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    segment = (1, 0, _BASE, _BASE, whole, whole, 5, 0x1000)
    return _HEADER_32.pack(ident, *kind, *segment) + code
