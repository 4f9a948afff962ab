# A guest on a disk's first sector, for tests: 32-bit paging, twenty page faults between mark 1 and
# mark 2. Its handler maps another frame at the same address each time. Linked at 0x7c00.
.intel_syntax noprefix
.code16
.globl _start
_start:
    cli
    xor ax,ax
    mov ds,ax
    mov ss,ax
    mov sp,0x7000
    lgdt [gdtr]
    lidt [idtr]
    mov eax,cr0
    or al,1
    mov cr0,eax
    ljmp 8,offset protected
.code32
protected:
    mov ax,16
    mov ds,ax
    mov es,ax
    mov ss,ax
    mov esp,0x7000
# page directory at 0x10000, table at 0x11000: the first 4 MiB map themselves
    mov edi,0x10000
    xor eax,eax
    mov ecx,2048
    rep stosd
    mov dword ptr [0x10000],0x11003
    mov edi,0x11000
    mov eax,3
fill:
    stosd
    add eax,0x1000
    cmp edi,0x12000
    jne fill
# gate 14 of the IDT, which begins at 0x8000
    mov eax,offset fault
    mov word ptr [0x8000+14*8],ax
    mov word ptr [0x8000+14*8+2],8
    mov word ptr [0x8000+14*8+4],0x8e00
    shr eax,16
    mov word ptr [0x8000+14*8+6],ax
    mov eax,0x10000
    mov cr3,eax
    mov eax,cr0
    or eax,0x80000000
    mov cr0,eax
.byte 0x0f,0x1f,0x84,0x00,1,0,0x52,0x54
    mov ebx,0x200000
again:
    mov dword ptr [0x11800],0    # the entry of 0x200000
    invlpg [ebx]
    mov dword ptr [ebx],ebx         # a fault, and its handler maps another frame
    dec dword ptr [count]
    jnz again
.byte 0x0f,0x1f,0x84,0x00,2,0,0x52,0x54
stop:
    hlt
    jmp stop
fault:
    pop eax
    mov eax,[count]
    shl eax,12
    add eax,0x100003
    mov [0x11800],eax
    iretd
.balign 4
count:
    .long 20
gdt:
    .quad 0
.quad 0x00cf9a000000ffff
.quad 0x00cf92000000ffff
gdtr:
    .word 23
.long gdt
idtr:
    .word 15*8-1
.long 0x8000
.org 510
.word 0xaa55
