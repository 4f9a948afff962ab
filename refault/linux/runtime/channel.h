/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory that this program shares with the process that asked for it. Rows go in, outcomes come
 * out, a block at a time; refault/engines/kernel/channel.py has the same table in Python.
 */
#ifndef REFAULT_CHANNEL_H
#define REFAULT_CHANNEL_H

#include "seam.h"

#define RF_ROWS (1 << 15)
#define RF_COUNTERS 256
#define RF_COUNTER_NAME 56
#define RF_REPORTS 64
#define RF_REPORT_TEXT 232
#define RF_PAGES (1 << 16)
#define RF_SKIPPED 0xf0		/* of a code: not executed, and a reason in the low bits */

struct rf_report { rf_u32 kind, row; rf_u64 count; char text[RF_REPORT_TEXT + 8]; };
enum { RF_WARNING = 1, RF_STOPPED = 2, RF_MISSED_FLUSH = 3 };

struct rf_channel {
	/* asked */
	rf_u32 start, end;		/* rows to execute */
	rf_u32 tdp, host_level;
	/* answered */
	rf_u32 done;			/* the first row that is not executed */
	rf_u32 is_stopped;
	rf_u32 counter_count, report_count;
	rf_u32 page_count, wants_pages;
	rf_u32 wants_all;		/* every outcome whole, also where all is as expected */
	rf_u32 is_terse;		/* rows that came out as witnessed need not be told of */
	rf_u32 is_captured;		/* rows of real guests */
	rf_u32 lists_rows;		/* answered: it tells only of some rows */
	rf_u32 row_count;
	rf_u32 has_la57;		/* asked: the guest may switch to five levels of tables */
	char names[RF_COUNTERS][RF_COUNTER_NAME];
	rf_u64 counters[RF_COUNTERS];
	struct rf_report reports[RF_REPORTS];
	/* rows: refault/replay/operations.py */
	rf_s64 a[RF_ROWS], b[RF_ROWS], want[RF_ROWS];
	rf_u8 kind[RF_ROWS], vcpu[RF_ROWS], user[RF_ROWS], aux[RF_ROWS], cls[RF_ROWS];
	/* outcomes of the rows it tells of, place by place */
	rf_u8 code[RF_ROWS], emulated[RF_ROWS];
	rf_s64 address[RF_ROWS], value[RF_ROWS], probe[RF_ROWS];
	/* shadow pages, when they are asked for */
	struct rf_page pages[RF_PAGES];
	/* rows that did not come out as witnessed, in order: of no other is anything written */
	rf_u32 listed[RF_ROWS];
};

#endif
