# A guest on a disk's first sector, for tests: PAE, with two roots in one page, one of which is
# freed as Linux frees it. Its entries stay, and the frame that it points at becomes a leaf table of
# the other: it must be taken for that, through any number of stores. Linked at 0x7c00.
    .intel_syntax noprefix
    .code16
    .globl _start
_start:
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    lgdt [gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    ljmp 8, offset protected
    .code32
protected:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x7000
# 0x10000 has the roots, at 0x10020 and 0x10040. 0x11000 is the directory of the first, 0x12000 that
# of the second; both have 0x13000 below, which maps the first 2 MiB to themselves.
    mov edi, 0x10000
    xor eax, eax
    mov ecx, 0x1400
    rep stosd
    mov dword ptr [0x10020], 0x11001
    mov dword ptr [0x10040], 0x12001
    mov dword ptr [0x11000], 0x13003
    mov dword ptr [0x12000], 0x13003
    mov edi, 0x13000
    mov eax, 3
fill:
    mov [edi], eax
    add edi, 8
    add eax, 0x1000
    cmp edi, 0x14000
    jne fill
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, 0x10020
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    .byte 0x0f, 0x1f, 0x84, 0x00, 1, 0, 0x52, 0x54
    mov [0x100000], eax
    mov eax, 0x10040
    mov cr3, eax
# The first root is free. Its directory becomes a leaf table of the second, for 0x400000.
    mov edi, 0x11000
    xor eax, eax
    mov ecx, 0x400
    rep stosd
    mov dword ptr [0x12010], 0x11003
    mov ebx, 100
again:
    mov eax, ebx
    shl eax, 12
    add eax, 0x100003
    mov [0x11000], eax
    invlpg [0x400000]
    mov [0x400000], ebx
    cmp ebx, 50
    jne next
    mov dword ptr [0x10020], 0     # another process takes the place of the first root
next:
    dec ebx
    jnz again
    .byte 0x0f, 0x1f, 0x84, 0x00, 2, 0, 0x52, 0x54
stop:
    hlt
    jmp stop
    .balign 4
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff
    .quad 0x00cf92000000ffff
gdtr:
    .word 23
    .long gdt
    .org 510
    .word 0xaa55
