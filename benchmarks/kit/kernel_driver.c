// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The least that runs a tree's code on the rows of a trace and says whether the guest saw what the
 * real one saw: the program of refault/linux/runtime with a loop of its own instead of a parent. One
 * process, no pipe, no wall, no TLB that watches, no digest of outcomes, no finding, no counter.
 *
 * Arguments: a file of rows, the row to begin measuring at, tdp 0 or 1. Prints the seconds of
 * processor time of the rows from there on, and how many accesses were as witnessed, and were not.
 * Rows are executed where they lie: bringing them there, a block at a time, is not measured.
 */
#define main program_main
#include "program.c"
#undef main

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

/* The file: its rows, column after column, the widest first. */
static rf_u64 count;
static const char *rows;

static void take(rf_u64 first, rf_u64 n)
{
	const char *at = rows;

#define COLUMN(name) \
	memcpy(channel->name, at + first * sizeof(*channel->name), n * sizeof(*channel->name)); \
	at += count * sizeof(*channel->name);
	COLUMN(a) COLUMN(b) COLUMN(want) COLUMN(kind) COLUMN(vcpu) COLUMN(user) COLUMN(aux) COLUMN(cls)
#undef COLUMN
}

static rf_u64 tally[RF_ROWS / 256][2];

/* An access that is not told of came out as witnessed. */
static void judge(rf_u32 i)
{
	int kind = channel->kind[i], cls = channel->cls[i];

	if (kind >= OP_LD && kind <= OP_ST1)
		tally[cls][!channel->row_count || !is_unexpected(cls, channel->want[i], channel->code[0],
								  channel->address[0])]++;
	channel->row_count = 0;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec + now.tv_nsec * 1e-9;
}

static double spent;

static int run(rf_u64 first, rf_u64 end)
{
	while (first < end) {
		rf_u64 n = end - first < RF_ROWS ? end - first : RF_ROWS;

		take(first, n);
		spent -= seconds();
		if (sigsetjmp(stop_point, 1))
			return 1;
		for (row = 0; row < n; row++) {
			channel->done = row;
			execute(row);
			judge(row);
		}
		spent += seconds();
		first += n;
	}
	return 0;
}

int main(int argc, char **argv)
{
	rf_u64 as_witnessed = 0, others = 0, from = argc > 3 ? strtoull(argv[2], NULL, 10) : 0;
	struct stat about;
	int file, cls;

	file = argc > 3 ? open(argv[1], O_RDONLY) : -1;
	if (file < 0 || fstat(file, &about))
		return 2;
	count = about.st_size / 29;
	rows = mmap(NULL, about.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
	channel = mmap(NULL, sizeof(*channel), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (rows == MAP_FAILED || channel == MAP_FAILED)
		return 2;
	channel->tdp = argv[3][0] == '1';
	channel->is_terse = 1;
	catch_signals();
	set_up();
	if (channel->is_stopped || run(0, from))
		return 2;
	memset(tally, 0, sizeof(tally));
	spent = 0;
	if (run(from, count))
		return 2;
	for (cls = 0; cls < WITNESS_UNSEEN; cls++) {
		as_witnessed += tally[cls][1];
		others += tally[cls][0];
	}
	printf("%.9f %llu %llu\n", spent, as_witnessed, others);
	return 0;
}
