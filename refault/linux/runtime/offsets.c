// SPDX-License-Identifier: GPL-2.0-or-later
/* Sizes that assembly in the tree's headers is written with: generated/asm-offsets.h is made of it. */
#define COMPILE_OFFSETS
#include <linux/kbuild.h>
#include <linux/types.h>
#include <asm/alternative.h>
#include <asm/extable.h>

int main(void)
{
	DEFINE(ALT_INSTR_SIZE, sizeof(struct alt_instr));
	DEFINE(EXTABLE_SIZE, sizeof(struct exception_table_entry));
	return 0;
}
