/* What a captured guest does: a program without a C library, for 64-bit and 32-bit guests.
 *
 * Usage: work fork N | map N | talk N | many N | pressure MIB
 *
 * Each phase begins with a mark of its own, which the capture records: a NOP that no compiler emits.
 */
#define MARK(number) __asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00\n.long 0x54520000 + %c0" ::"i"(number) : "memory")
enum { MARK_FORK = 16, MARK_MAP = 17, MARK_TALK = 18, MARK_MANY = 19, MARK_PRESSURE = 20, MARK_AGAIN = 21 };

#if defined(__x86_64__)
enum {
    READ = 0, WRITE = 1, MMAP = 9, MPROTECT = 10, MUNMAP = 11, PIPE = 22, MREMAP = 25, MADVISE = 28, FORK = 57,
    EXECVE = 59, EXIT = 60, WAIT4 = 61, CLOSE = 3
};
static long call(long number, long a, long b, long c, long d, long e)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#else
enum {
    READ = 3, WRITE = 4, MMAP = 90, MPROTECT = 125, MUNMAP = 91, PIPE = 42, MREMAP = 163, MADVISE = 219, FORK = 2,
    EXECVE = 11, EXIT = 1, WAIT4 = 114, CLOSE = 6
};
static long call(long number, long a, long b, long c, long d, long e)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
    return result;
}
#endif

enum { PAGE = 4096, READABLE = 1, WRITABLE = 2, SHARED = 1, PRIVATE = 2, ANONYMOUS = 32, MAY_MOVE = 1, DONT_NEED = 4 };

static char *map(unsigned long size, long how)
{
#if defined(__x86_64__)
    long at = call(MMAP, 0, (long)size, READABLE | WRITABLE, how | ANONYMOUS, -1);
#else
    long arguments[6] = {0, (long)size, READABLE | WRITABLE, how | ANONYMOUS, -1, 0};
    long at = call(MMAP, (long)arguments, 0, 0, 0, 0);
#endif
    if (at < 0 && at > -PAGE)
        call(EXIT, 3, 0, 0, 0, 0);
    return (char *)at;
}

static void touch(char *from, unsigned long size, char value)
{
    for (unsigned long at = 0; at < size; at += PAGE)
        ((volatile char *)from)[at] = value;
}

static long child(void)
{
    long pid = call(FORK, 0, 0, 0, 0, 0);
    if (pid < 0)
        call(EXIT, 4, 0, 0, 0, 0);
    return pid;
}

static void leave(int status) { call(EXIT, status, 0, 0, 0, 0); }
static void await(long pid) { call(WAIT4, pid, 0, 0, 0, 0); }

/* Processes that end at once, every second one after it became another program. */
static void do_fork(int count)
{
    static char path[] = "/bin/busybox", name[] = "true";
    char *arguments[] = {name, 0}, *environment[] = {0};
    MARK(MARK_FORK);
    for (int i = 0; i < count; i++) {
        long pid = child();
        if (!pid) {
            if (i & 1)
                call(EXECVE, (long)path, (long)arguments, (long)environment, 0, 0);
            leave(0);
        }
        await(pid);
    }
}

/* Mappings that come and go, change their protection, move and are given back. */
static void do_map(int count)
{
    MARK(MARK_MAP);
    for (int i = 0; i < count; i++) {
        unsigned long size = (1 + i * 7 % 64) * (unsigned long)PAGE;
        char *at = map(size, PRIVATE);
        touch(at, size, 1);
        if (i % 3 == 0) {
            call(MPROTECT, (long)at, (long)size, READABLE, 0, 0);
            (void)*(volatile char *)at;
            call(MPROTECT, (long)at, (long)size, READABLE | WRITABLE, 0, 0);
            *(volatile char *)at = 1;
        }
        if (i % 5 == 0) {
            at = (char *)call(MREMAP, (long)at, (long)size, (long)size * 2, MAY_MOVE, 0);
            size *= 2;
        }
        if (i % 4 == 0) {
            call(MADVISE, (long)at, (long)size, DONT_NEED, 0, 0);
            *(volatile char *)at = 2;
        }
        call(MUNMAP, (long)at, (long)size, 0, 0, 0);
    }
}

/* Two processes that wait for each other: switches of the address space. */
static void do_talk(int count)
{
    int there[2], back[2];
    char byte = 0;
    if (call(PIPE, (long)there, 0, 0, 0, 0) || call(PIPE, (long)back, 0, 0, 0, 0))
        leave(5);
    MARK(MARK_TALK);
    long pid = child();
    for (int i = 0; i < count; i++) {
        int from = pid ? back[0] : there[0], to = pid ? there[1] : back[1];
        if (pid)
            call(WRITE, to, (long)&byte, 1, 0, 0);
        call(READ, from, (long)&byte, 1, 0, 0);
        if (!pid)
            call(WRITE, to, (long)&byte, 1, 0, 0);
    }
    if (!pid)
        leave(0);
    await(pid);
}

/* A ring of processes that live together; each has memory of its own and some that all share. */
static void do_many(int count)
{
    static int ends[257][2];
    enum { ROUNDS = 6, OWN = 24 * PAGE, COMMON = 16 * PAGE };
    char *common = map(COMMON, SHARED), byte = 0;
    if (count > 256)
        count = 256;
    for (int i = 0; i <= count; i++)
        if (call(PIPE, (long)ends[i], 0, 0, 0, 0))
            leave(5);
    MARK(MARK_MANY);
    for (int i = 0; i < count; i++) {
        if (child())
            continue;
        char *own = map(OWN, PRIVATE);
        for (int round = 0; round < ROUNDS; round++) {
            call(READ, ends[i][0], (long)&byte, 1, 0, 0);
            touch(own, OWN, (char)round);
            touch(common, COMMON, (char)i);
            call(WRITE, ends[i + 1][1], (long)&byte, 1, 0, 0);
        }
        leave(0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        call(WRITE, ends[0][1], (long)&byte, 1, 0, 0);
        call(READ, ends[count][0], (long)&byte, 1, 0, 0);
    }
    for (int i = 0; i < count; i++)
        await(-1);
}

/* More memory than the guest has: pages go to swap and come back. */
static void do_pressure(int mib)
{
    unsigned long size = (unsigned long)mib << 20, state = 1;
    MARK(MARK_PRESSURE);
    char *at = map(size, PRIVATE);
    touch(at, size, 1);
    MARK(MARK_AGAIN);
    for (unsigned long i = 0; i < size / PAGE; i++) {
        state = (state * 1103515245 + 12345) & 0x7fffffff;
        volatile char *page = at + (state >> 8) % (size / PAGE) * PAGE;
        if (i & 1)
            *page = (char)i;
        else
            (void)*page;
    }
    long pid = child();
    if (!pid) {
        touch(at, size / 4, 3);
        leave(0);
    }
    await(pid);
}

static int number(const char *text)
{
    int value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (*text - '0');
    return value;
}

__attribute__((used)) static void begin(long *stack)
{
    char **arguments = (char **)(stack + 1);
    if (stack[0] < 3)
        leave(2);
    int count = number(arguments[2]);
    switch (arguments[1][0]) {
    case 'f': do_fork(count); break;
    case 't': do_talk(count); break;
    case 'p': do_pressure(count); break;
    case 'm':
        if (arguments[1][2] == 'p')
            do_map(count);
        else
            do_many(count);
        break;
    default: leave(2);
    }
    leave(0);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall begin\n");
#else
__asm__(".globl _start\n_start: mov %esp, %eax\nand $-16, %esp\nsub $12, %esp\npush %eax\ncall begin\n");
#endif
