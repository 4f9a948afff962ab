# A guest on a disk's first sector, for tests: 32-bit paging, and code that runs in a segment whose
# base is 0x1000, so that EIP is not its address. Linked at 0x7c00.
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
    mov eax,0x10000
    mov cr3,eax
    mov eax,cr0
    or eax,0x80000000
    mov cr0,eax
.byte 0x0f,0x1f,0x84,0x00,1,0,0x52,0x54
    ljmp 24,offset segmented - 0x1000
segmented:
    mov eax,0x10000
    mov cr3,eax                     # an epoch: the page of this code is fetched anew
    jmp next
next:
    mov dword ptr [0x100000],eax
.byte 0x0f,0x1f,0x84,0x00,2,0,0x52,0x54
stop:
    hlt
    jmp stop
.balign 4
gdt:
    .quad 0
.quad 0x00cf9a000000ffff
.quad 0x00cf92000000ffff
.quad 0x00cf9a001000ffff
gdtr:
    .word 31
.long gdt
.org 510
.word 0xaa55
