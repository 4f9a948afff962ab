// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Executes blocks of operations on the tree's code. It is told to by a byte on descriptor 3 and
 * answers with one on descriptor 4; rows and outcomes are in the memory of descriptor 5.
 *
 * Descriptor 3 at its end is the end of the run. Whatever the tree's code does wrong (a BUG, a
 * signal, a function that is missing) stops the run at its row, with a report.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "channel.h"
#include "hardware.h"
#include "operations.h"	/* OP_*: refault/trace/format.py */
#include "tlb.h"

#define ASKED 3
#define ANSWERED 4
#define SHARED 5
#define PAGE 4096UL

/* Of captures alone: refault/replay/operations.py, TABLE_WRITE. */
#define OP_TABLE_WRITE 200

/* Why a row was not executed: refault/replay/records.py, SKIP_*. */
enum { NOT_BOOTED, OUTSIDE_MEMORY, UNSUPPORTED };
/* How the outcome is known: refault/replay/operations.py, WITNESS_*. */
enum { WITNESS_NONE, WITNESS_ACCESS, WITNESS_TABLE_STORE, WITNESS_SNAPSHOT, WITNESS_FAULT,
       WITNESS_UNSEEN };

static struct rf_channel *channel;
static sigjmp_buf stop_point;
static volatile rf_u32 row;
static int vcpu_count;
static rf_u8 is_booted[RF_VCPUS_MAX];
static struct slot { rf_u64 base, pages; int is_used; rf_u64 *written; } slots[RF_SLOTS_MAX];
int rf_is_logging;
static rf_u64 executed;	/* rows of earlier blocks */

/* While a VM or a vCPU is made: much of what that calls is of no use here, and answers 0. */
int rf_is_setup = 1;
int rf_nested;
int rf_is_captured;
int rf_has_la57;

/* Of each report of a missed flush, its reason. */
static rf_u64 reasons[RF_REPORTS];

/* --- reports --------------------------------------------------------------------------------------------- */

static void add_report(int kind, rf_u64 which, const char *format, va_list arguments)
{
	char text[RF_REPORT_TEXT];
	struct rf_report *next;
	rf_u32 i;

	vsnprintf(text, sizeof(text), format, arguments);
	for (i = 0; i < channel->report_count && i < RF_REPORTS; i++)
		if (channel->reports[i].kind == (rf_u32)kind &&
		    (which ? reasons[i] == which : !strcmp(channel->reports[i].text, text))) {
			channel->reports[i].count++;
			return;
		}
	if (channel->report_count >= RF_REPORTS && kind != RF_STOPPED)
		return;
	if (channel->report_count >= RF_REPORTS)
		channel->report_count = RF_REPORTS - 1;
	reasons[channel->report_count] = which;
	next = &channel->reports[channel->report_count++];
	next->kind = kind;
	next->row = row;
	next->count = 1;
	strcpy(next->text, text);
}

static void report(int kind, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	add_report(kind, 0, format, arguments);
	va_end(arguments);
}

/* The first of each reason in a block, and how many there were. */
void rf_missed_flush(rf_u64 which, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	add_report(RF_MISSED_FLUSH, which, format, arguments);
	va_end(arguments);
}

/* How many operations came before this one. */
static rf_u64 operation(void)
{
	return executed + row - channel->start;
}

void rf_stop(const char *kind, const char *text)
{
	report(RF_STOPPED, "%s: %s", kind, text);
	siglongjmp(stop_point, 1);
}

/* Called by the stub of every function that neither the tree's objects nor we have. */
void rf_missing(const char *name)
{
	if (!rf_is_setup)
		rf_stop("missing-function", name);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	const char *file = "";
	int line = 0, length = 0;

	if (number == SIGILL) {
		int what = rf_trap(registers[REG_RIP], &file, &line, &length);

		if (what == 1)
			report(RF_WARNING, "%s:%d", file, line);
		if (what & 1) {
			registers[REG_RIP] += length;
			return;
		}
		if (what == 2)
			report(RF_STOPPED, "bug: %s:%d", file, line);
	}
	if (!file[0])
		report(RF_STOPPED, "signal: %s at %#llx", sigabbrev_np(number),
		       (unsigned long long)registers[REG_RIP]);
	siglongjmp(stop_point, 1);
}

static void catch_signals(void)
{
	static const int numbers[] = { SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP };
	static char stack[1 << 16];
	stack_t alternative = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_sigaction = on_signal,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	unsigned int i;

	sigaltstack(&alternative, NULL);
	for (i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		sigaction(numbers[i], &action, NULL);
}

/* --- memory -------------------------------------------------------------------------------------------------- */

static void map(rf_u64 address, rf_u64 bytes)
{
	void *found = mmap((void *)address, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

	if (found != (void *)address)
		rf_stop("out-of-memory", "no address space for the guest");
}

int rf_has_memory(rf_u64 gfn)
{
	int i;

	for (i = 0; i < RF_SLOTS_MAX; i++)
		if (slots[i].is_used && gfn - slots[i].base < slots[i].pages)
			return 1;
	return 0;
}

/*
 * A slot that logs has a bit for each page: written since its log began, or was read. No kernel
 * knows of them: they are what its log is held against.
 */
static rf_u64 written_bytes(const struct slot *slot)
{
	return (slot->pages + 63) / 64 * 8;
}

/* KVM does nothing where a log is on already: what was written stays to be read. */
static void begin_log(struct slot *slot)
{
	if (slot->written)
		return;
	slot->written = mmap(NULL, written_bytes(slot), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (slot->written == MAP_FAILED)
		rf_stop("out-of-memory", "no memory to log what is written");
	rf_is_logging++;
	rf_tlb_logged(slot->base, slot->pages, operation());
}

/* It begins anew with what its reader was told of. */
static void was_read(struct slot *slot)
{
	if (!slot->written)
		return;
	memset(slot->written, 0, written_bytes(slot));
	rf_tlb_logged(slot->base, slot->pages, operation());
}

static void end_log(struct slot *slot)
{
	if (!slot->written)
		return;
	munmap(slot->written, written_bytes(slot));
	slot->written = NULL;
	rf_is_logging--;
}

void rf_note_written(rf_u64 gpa)
{
	rf_u64 place;
	int i;

	for (i = 0; rf_is_logging && i < RF_SLOTS_MAX; i++) {
		place = (gpa >> 12) - slots[i].base;
		if (slots[i].written && place < slots[i].pages) {
			slots[i].written[place / 64] |= 1ULL << (place % 64);
			return;
		}
	}
}

/* Refault's records say of a log: pages it lacks, pages written, and that both are known. */
static long read_log(struct slot *slot, rf_u64 *content, rf_u64 *judged)
{
	rf_u64 lost, count = 0, i;
	long answer = rf_get_dirty_log(slot - slots, slot->pages, slot->written, content, &lost);

	*judged = 0;
	if (answer < 0 || !slot->written)
		return answer;
	for (i = 0; i < written_bytes(slot) / 8; i++)
		count += __builtin_popcountll(slot->written[i]);
	*judged = lost << 32 | count << 1 | 1;
	was_read(slot);
	return answer;
}

static void map_slot(rf_u64 base, rf_u64 pages)
{
	rf_u64 first = (RF_GUEST_PFN + base) * 64, last = (RF_GUEST_PFN + base + pages) * 64;

	map(RF_RAM + base * PAGE, pages * PAGE);
	/* The page structures of neighbours share a page: never map over one that is there. */
	for (first &= ~(PAGE - 1); first < last; first += PAGE) {
		static unsigned char seen[RF_GUEST_FRAMES * 64 / PAGE / 8];
		rf_u64 index = first / PAGE - RF_GUEST_PFN * 64 / PAGE;

		if (!(seen[index / 8] >> (index % 8) & 1)) {
			seen[index / 8] |= 1 << (index % 8);
			map(RF_VMEMMAP + first, PAGE);
		}
	}
}

/* --- one row ----------------------------------------------------------------------------------------------------- */

static int skip(int reason)
{
	return RF_SKIPPED | reason;
}

static int change_slot(int kind, int slot, rf_u64 base, rf_u64 pages, int level)
{
	if (slot >= RF_SLOTS_MAX)
		return skip(OUTSIDE_MEMORY);
	if (kind == OP_MEM && !slots[slot].is_used) {
		if (channel->host_level > (rf_u32)level)
			level = channel->host_level;
		map_slot(base, pages);
		rf_host_level(base, pages, level);
		if (rf_set_slot(slot, base, pages, 0))
			return skip(UNSUPPORTED);
		slots[slot].base = base;
		slots[slot].pages = pages;
		slots[slot].is_used = 1;
		return RF_NONE;
	}
	if (!slots[slot].is_used)
		return skip(OUTSIDE_MEMORY);
	if (kind == OP_MEM && (base != slots[slot].base || pages != slots[slot].pages))
		return skip(UNSUPPORTED);
	if (kind == OP_LOG || kind == OP_LOG_OFF) {
		rf_set_slot(slot, slots[slot].base, slots[slot].pages, kind == OP_LOG);
		if (kind == OP_LOG)
			begin_log(&slots[slot]);
		else
			end_log(&slots[slot]);
	} else if (kind == OP_DIRTYLOG) {
		rf_dirty_log(slot, slots[slot].pages);
		was_read(&slots[slot]);
	} else if (kind == OP_MEM_DELETE) {
		rf_set_slot(slot, slots[slot].base, 0, 0);
		slots[slot].is_used = 0;
		end_log(&slots[slot]);
		rf_tlb_unmapped(slots[slot].base, slots[slot].pages, operation());
	}
	return RF_NONE;
}

static long unmap(rf_u64 first, rf_u64 pages)
{
	long answer = rf_unmap(first, pages);

	rf_tlb_unmapped(first, pages, operation());
	return answer;
}

static long unmap_range(rf_u64 first, rf_u64 pages)
{
	if (first >= RF_GUEST_FRAMES)
		return 0;
	return unmap(first, pages < RF_GUEST_FRAMES - first ? pages : RF_GUEST_FRAMES - first);
}

static int host_operation(int kind, int aux, rf_u64 a, rf_u64 b, int user, struct rf_outcome *out)
{
	long answer;

	switch (kind) {
	case OP_VM:
		rf_is_setup = 1;
		for (; !vcpu_count || vcpu_count < (int)a; vcpu_count++)
			if (vcpu_count >= RF_VCPUS_MAX || rf_tlb_open(vcpu_count) ||
			    rf_create_vcpu(vcpu_count))
				rf_stop("setup", "KVM_CREATE_VCPU failed");
		rf_is_setup = 0;
		return RF_NONE;
	case OP_NOTE:
	case OP_BOOT_CR:
		return RF_NONE;
	case OP_MEM:
	case OP_LOG:
	case OP_LOG_OFF:
	case OP_DIRTYLOG:
	case OP_MEM_DELETE:
		return change_slot(kind, aux, a, b, user);
	case OP_POKE:
		if (!rf_has_memory(a >> 12))
			return skip(OUTSIDE_MEMORY);
		memcpy((void *)(RF_RAM + (a & ~7ULL)), &b, 8);
		return RF_NONE;
	case OP_NR_PAGES:
		rf_change_limit(a & 0xffffffffULL);
		return RF_NONE;
	case OP_ZAPALL:
		rf_zap_all();
		return RF_NONE;
	case OP_SHRINK:
		answer = rf_shrink((long)a);
		break;
	case OP_UNMAP:
		answer = rf_has_memory(a) ? unmap(a, 1) : 0;
		break;
	case OP_GET_DIRTY_LOG:
		if (aux >= RF_SLOTS_MAX || !slots[aux].is_used)
			return skip(OUTSIDE_MEMORY);
		answer = read_log(&slots[aux], &out->value, &out->judged);
		break;
	case OP_UNMAP_RANGE:
		answer = unmap_range(a, b);
		break;
	case OP_AGE:
		answer = rf_has_memory(a) ? rf_age(a) : 0;
		break;
	case OP_CHANGE_PTE:
		if (rf_has_memory(a)) {
			rf_change_pte(a, b & 1);
			rf_tlb_unmapped(a, 1, operation());
		}
		return RF_NONE;
	default:
		return skip(UNSUPPORTED);
	}
	if (answer < 0)
		return skip(UNSUPPORTED);
	out->address = answer;
	return RF_RETURN;
}

static int store_size(int kind)
{
	return kind == OP_ST ? 8 : kind == OP_ST4 ? 4 : kind == OP_ST2 ? 2 : 1;
}

static int write_register(int kind, int vcpu, rf_u64 value)
{
	struct rf_registers old, now;
	int is_refused, is_everything;

	rf_registers(vcpu, &old);
	is_refused = kind == OP_CR0 ? rf_set_cr0(vcpu, value) :
		     kind == OP_CR3 ? rf_set_cr3(vcpu, value) :
		     kind == OP_CR4 ? rf_set_cr4(vcpu, value) : rf_set_efer(vcpu, value);
	if (is_refused)
		return RF_GP;
	if (rf_nested)
		return RF_NONE;
	/* By the manual it drops what the processor has cached. */
	rf_registers(vcpu, &now);
	is_everything = (kind == OP_CR3 && !(now.cr4 & CR4_PGE)) ||
			((now.cr4 ^ old.cr4) & (CR4_PGE | CR4_PAE)) || ((now.cr0 ^ old.cr0) & CR0_PG);
	if (kind == OP_CR3 || is_everything)
		rf_tlb_guest_flushed(vcpu, is_everything, operation());
	return RF_NONE;
}

static int guest_operation(int kind, int vcpu, int user, int aux, rf_u64 a, rf_u64 b, rf_u64 want,
			   struct rf_outcome *out)
{
	int pending;

	if (vcpu >= vcpu_count)
		return skip(NOT_BOOTED);
	if (kind == OP_BOOT) {
		rf_boot(vcpu, a & 0xffffffffULL, b, a >> 32, want);
		is_booted[vcpu] = 1;
		return RF_NONE;
	}
	if (kind == OP_TABLE_WRITE && !rf_has_memory(a >> 12))
		return skip(OUTSIDE_MEMORY);
	if (kind == OP_TABLE_WRITE && (a & 7) + aux > 8)
		return skip(UNSUPPORTED);
	if (kind == OP_TABLE_WRITE && !is_booted[vcpu]) {
		memcpy((void *)(RF_RAM + a), &b, aux);
		return RF_NONE;
	}
	if (!is_booted[vcpu])
		return skip(NOT_BOOTED);
	if (kind == OP_SREGS) {
		int is_refused;

		/* Of segments and the interrupt controller nothing is here. */
		rf_is_setup = 1;
		is_refused = rf_set_sregs(vcpu, a & 0xffffffffULL, b, a >> 32, want);
		rf_is_setup = 0;
		return is_refused ? skip(UNSUPPORTED) : RF_NONE;
	}
	pending = rf_enter(vcpu);
	if (pending != RF_NONE)
		return pending;
	rf_tlb_entered(vcpu);
	switch (kind) {
	case OP_TABLE_WRITE:
		if (rf_nested)
			rf_store_nested(vcpu, a, aux, b);
		else
			rf_store_unmapped(vcpu, a, aux, b);
		return RF_NONE;
	case OP_UNPROTECT:
		out->address = rf_unprotect(vcpu, a);
		return RF_RETURN;
	case OP_UNSHADOW:
		return rf_unshadow(a >> 12) ? skip(UNSUPPORTED) : RF_NONE;
	case OP_INVLPG:
		rf_invlpg(vcpu, a);
		if (!rf_nested)
			rf_tlb_guest_flushed_page(vcpu, a, operation());
		return RF_NONE;
	case OP_CR0:
	case OP_CR3:
	case OP_CR4:
	case OP_EFER:
		return write_register(kind, vcpu, a);
	}
	return skip(UNSUPPORTED);
}

static int is_of_host(int kind)
{
	return kind < OP_BOOT || (kind >= OP_NR_PAGES && kind <= OP_ZAPALL) ||
	       (kind > OP_UNPROTECT && kind < OP_SREGS);
}

/*
 * Did it come out otherwise than on the real guest? Only then is the guest's table walked, and only
 * then, or where it is not known what the guest saw, is more of it told than an outcome's code and
 * address: refault/engines/kernel/judge.py.
 */
static int is_unexpected(int cls, rf_u64 want, int code, rf_u64 address)
{
	if (cls == WITNESS_FAULT)
		return code != RF_PF || address != want;
	if (cls == WITNESS_NONE || cls == WITNESS_UNSEEN)
		return code != RF_OK;
	return code != RF_OK || address != want;
}

/* One more row that is told of: its place among them. */
static rf_u32 list(rf_u32 i, int code, rf_u64 address)
{
	rf_u32 place = channel->row_count++;

	channel->listed[place] = i;
	channel->code[place] = code;
	channel->address[place] = address;
	return place;
}

static void tell(rf_u32 place, const struct rf_outcome *out, rf_s64 probe)
{
	channel->emulated[place] = out->emulated;
	channel->value[place] = out->value;
	channel->probe[place] = probe;
}

static void execute_access(rf_u32 i, int kind, int vcpu, int user)
{
	rf_u64 a = channel->a[i], want = channel->want[i];
	int what = kind == OP_LD ? RF_READ : kind == OP_EX ? RF_FETCH : RF_WRITE;
	int cls = channel->cls[i], code;
	struct rf_outcome out = { 0 };
	rf_u32 place;

	rf_current = vcpu;
	if (vcpu >= vcpu_count || !is_booted[vcpu])
		code = skip(NOT_BOOTED);
	else
		code = rf_do_access(vcpu, a, what, user, store_size(kind), channel->b[i], &out);
	/* Nearly every row. Words that nobody needs would have to move between cores. */
	if (code == RF_OK && out.address == want && cls >= WITNESS_ACCESS &&
	    cls <= WITNESS_SNAPSHOT && channel->is_terse)
		return;
	place = list(i, code, out.address);
	if (code == RF_OK && what == RF_READ)
		out.value = rf_loaded(out.address);
	if (code < RF_SKIPPED && is_unexpected(cls, want, code, out.address))
		tell(place, &out, rf_probe(vcpu, a, what, user));
	else if (cls == WITNESS_NONE || cls == WITNESS_UNSEEN || channel->wants_all)
		tell(place, &out, 0);
}

static void execute(rf_u32 i)
{
	int kind = channel->kind[i], vcpu = channel->vcpu[i], user = channel->user[i];
	rf_u64 a = channel->a[i], b = channel->b[i];
	struct rf_outcome out = { 0 };
	int code;

	if (kind >= OP_LD && kind <= OP_ST1) {
		execute_access(i, kind, vcpu, user);
		return;
	}
	if (is_of_host(kind)) {
		rf_current = -1;
		code = host_operation(kind, channel->aux[i], a, b, user, &out);
	} else {
		rf_current = vcpu;
		code = guest_operation(kind, vcpu, user, channel->aux[i], a, b, channel->want[i], &out);
	}
	tell(list(i, code, out.address), &out, out.judged);
}

/* --- blocks --------------------------------------------------------------------------------------------------------- */

static void answer(void)
{
	int count = rf_counter_count(), kept = 0, i;

	for (i = 0; i < count && kept < RF_COUNTERS; i++) {
		const char *name;
		rf_u64 value;

		rf_counter(i, &name, &value);
		if (!name)
			continue;
		strncpy(channel->names[kept], name, RF_COUNTER_NAME - 1);
		channel->counters[kept++] = value;
	}
	channel->counter_count = kept;
	if (channel->wants_pages)
		channel->page_count = rf_pages(channel->pages, RF_PAGES);
}

static void execute_block(void)
{
	channel->report_count = 0;
	channel->row_count = 0;
	rf_is_captured = channel->is_captured;
	rf_has_la57 = channel->has_la57;
	if (sigsetjmp(stop_point, 1)) {
		channel->is_stopped = 1;
	} else if (!channel->is_stopped) {
		/* Told row by row: should this process die, it is known where. */
		for (row = channel->start; row < channel->end && row < RF_ROWS; row++) {
			channel->done = row;
			execute(row);
		}
	}
	channel->done = row;
	executed += row - channel->start;
	if (!sigsetjmp(stop_point, 1))
		answer();
}

static void set_up(void)
{
	struct rf_options options = { channel->tdp, channel->host_level };
	const char *error;

	if (sigsetjmp(stop_point, 1)) {
		channel->is_stopped = 1;
		return;
	}
	rf_nested = channel->tdp;
	map(RF_ARENA, RF_ARENA_BYTES);
	map(RF_VMEMMAP, RF_ARENA_BYTES / PAGE * 64);
	error = rf_init(&options);
	if (error)
		rf_stop("setup", error);
	rf_is_setup = 0;
}

#ifdef __SANITIZE_ADDRESS__
void __asan_set_error_report_callback(void (*callback)(const char *text));

/* Of a frame, "in FUNCTION FILE:LINE"; the length of it, or 0 if it is not of the tree. */
static int tree_frame(const char *line, int length, const char **found)
{
	const char *in = memmem(line, length, " in ", 4);

	if (!in || memmem(line, length, "runtime/", 8) || memmem(line, length, "libsanitizer", 12))
		return 0;
	*found = in + 4;
	return length - (in + 4 - line);
}

/* The first frame of the tree's from those words on. */
static void place_of(const char *text, const char *words, char *place, size_t size)
{
	const char *line = strstr(text, words), *found;

	place[0] = 0;
	while (line && !place[0]) {
		int length = strcspn(line, "\n");
		int told = tree_frame(line, length, &found);

		if (told)
			snprintf(place, size, "%.*s", told, found);
		line = line[length] ? line + length + 1 : NULL;
	}
}

static void on_bad_memory(const char *text)
{
	const char *kind = strstr(text, "AddressSanitizer: ");
	char at[72], freed[72], byte = 0;

	place_of(text, "", at, sizeof(at));
	place_of(text, "freed by", freed, sizeof(freed));
	report(RF_STOPPED, "sanitizer: %.*s in %s%s%s", kind ? (int)strcspn(kind + 18, " \n") : 0,
	       kind ? kind + 18 : "", at, freed[0] ? "; freed in " : "", freed);
	channel->is_stopped = 1;
	channel->done = row;
	if (write(ANSWERED, &byte, 1) == 1)
		_exit(0);
}
#endif

int main(void)
{
	char byte = 0;

	channel = mmap(NULL, sizeof(*channel), PROT_READ | PROT_WRITE, MAP_SHARED, SHARED, 0);
	if (channel == MAP_FAILED)
		return 2;
	channel->lists_rows = 1;
	catch_signals();
#ifdef __SANITIZE_ADDRESS__
	__asan_set_error_report_callback(on_bad_memory);
#endif
	set_up();
	if (write(ANSWERED, &byte, 1) != 1)
		return 2;
	while (read(ASKED, &byte, 1) == 1) {
		execute_block();
		if (write(ANSWERED, &byte, 1) != 1)
			return 2;
	}
	return 0;
}
