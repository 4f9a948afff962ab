"""Words of the simulated host: what is where in its seven flat ``int64`` arrays.

:class:`refault.engines.shadow.state.machine.Machine` holds the arrays; this file names every word
of them, and :mod:`refault.engines.shadow.state.fields` says what kind of word each is. Bits of
entries and registers are the architecture's (:mod:`refault.replay.x86`); what KVM adds is here.

Bit 9 of a shadow entry says that the host mapping is writable (SPTE_HOST_WRITEABLE). A shadow
*link* holds the page handle of the child where a leaf holds a frame. The simulated host maps guest
frame n to host frame n, so a leaf's frame is the guest frame.
"""

from __future__ import annotations

from refault.replay.x86 import ENTRIES
from refault.trace.format import MAX_SLOTS, MAX_VCPUS

# --- Bits of a shadow entry that are KVM's ------------------------------------------
HOST_WRITABLE = 0x200
# Not-present SPTE whose fault exits to the host (VMX, bypass_guest_pf=1): P and the
# reserved bits are set, so the fault carries RSVD.
TRAP_WITH_BYPASS = ~0xFFE

# --- Access bits of a role and of a walk (KVM: ACC_*) ---------------------------------
ACC_EXEC = 1
ACC_WRITE = 2
ACC_USER = 4
ACC_ALL = 7

# --- Control registers: what a 2.6.34 host knows of them ------------------------------
CR0_KNOWN = 0xE005_003F
CR4_KNOWN = 0x27FF  # what a 2.6.34 host lets a guest set, and VMXE
CR3_LONG_KNOWN = 0x0000_00FF_FFFF_FFFF  # MAXPHYADDR is 40
CR3_PAE_RESERVED = 0x17  # as KVM tests it: bit 3 is PWT, bit 4 should have been PCD
EFER_KNOWN = 0xD01
RSVD_4M_36 = 0x003E_0000  # KVM gives a 4 MiB page 36 bits of address: bits 17..21

# --- Role word of a shadow page, 2.6.34 (kvm_host.h: union kvm_mmu_page_role) -----------
#
#    23     22  21  20      19-17  16     9-8      7-4   3-0
#   ┌──────┬───┬───┬───────┬──────┬──────┬────────┬─────┬───────┐
#   │cr0_wp│nxe│pge│invalid│access│direct│quadrant│level│glevels│   bits 10-15 are padding
#   └──────┴───┴───┴───────┴──────┴──────┴────────┴─────┴───────┘
#
# 2.6.35 has cr4_pae in place of glevels, and cr0_wp; its own order of the bits is only
# seen from outside (pageset.py). Two roles are equal in one order if and only if in the other.
ROLE_LEVEL_SHIFT = 4
ROLE_LEVEL_MASK = 0xF0
ROLE_FORMAT_MASK = 0xF  # glevels, or 1: cr4_pae
ROLE_QUADRANT_SHIFT = 8
ROLE_QUADRANT_MASK = 0x300
ROLE_DIRECT = 1 << 16
ROLE_ACCESS_SHIFT = 17
ROLE_INVALID = 1 << 20
ROLE_PGE = 1 << 21
ROLE_NXE = 1 << 22
ROLE_CR0_WP = 1 << 23

PAE_ROOT_LEVEL = 2  # of the four pages below the processor's array of roots

# --- KVM's constants (kvm_host.h, mmu.c) ------------------------------------------------
MIN_FREE_PAGES = 5
REFILL_PAGES = 25
MIN_ALLOC_PAGES = 64
PERMILLE_PAGES = 20
RMAP_EXT = 4
CHAIN_ENTRIES = 5
RECYCLE_THRESHOLD = 1000
VECTOR_SIZE = 16
HASH_SIZE = 1024
FLOOD_COUNT = 3
PREFETCHED = 8  # entries of the group of which a fault maps those that it can
EXITS_MAX = 64  # an access that still faults after so many exits is a livelock
MARKS_MAX = 1 << 26  # a walk over so many links to parents counts as endless
# Steps of one operation's loops (steps.py); one that takes more counts as endless: a walk up all
# paths takes at most MARKS_MAX, everything else a small multiple of the entries in use.
STEPS_PER_OPERATION = 1 << 30
STEPS_PER_PAGE = 32 * ENTRIES  # and for each page in use

# --- vm[]: one host ----------------------------------------------------------------
# 0..22 the counters, in the order of refault.results.COUNTERS
PF_FIXED = 0
PF_GUEST = 1
TLB_FLUSH = 2
INVLPG = 3
SHADOW_ZAPPED = 4
PTE_WRITE = 5
PTE_UPDATED = 6
PDE_ZAPPED = 7
FLOODED = 8
RECYCLED = 9
CACHE_MISS = 10
UNSYNC_PAGES = 11
REMOTE_TLB_FLUSH = 12
LPAGES = 13
N_FREE = 14
N_ALLOC = 15
ACTIVE = 16
FLUSH_CALLS = 17
RELOAD_CALLS = 18
SYNCED = 19
EXITS = 20
HW_FLUSH = 21
PARENT_MARKS = 22
COUNTER_COUNT = 23
COUNTED_ROW_WORDS = COUNTER_COUNT + 1  # of log.rows: the row's place, and the counters after it
# Counted besides (refault.results.WORK)
INTERCEPTS = 23  # instructions that exit: register writes, INVLPG, hypercalls
MMIO_EXITS = 24
INSN_EMULATION = 25
INSN_EMULATION_FAIL = 26
HYPERCALLS = 27

STEPS_LEFT = 28  # of the current operation
ABORTED = 29  # set by another thread: the replay was aborted
LOGGING = 31  # slots whose dirty log is on

# The variant's knobs (their values: refault.catalogue.values)
KNOB_ZAP_RETURN = 32
KNOB_HASH_RESTART = 33
KNOB_LIMIT_LOOP = 34
KNOB_PARENT_STOP = 35
KNOB_UNSYNC_CLEAR = 36
KNOB_CR4_WRITE = 37
KNOB_ROLE_CR4_PGE = 38
KNOB_SYNC_SCOPE = 39
KNOB_ROLE_LAYOUT = 168
KNOB_RESERVED_BITS = 169
KNOB_ENTRY_READ = 170
KNOB_INVLPG_WRITE = 171
KNOB_FORCED_WRITE = 172
KNOB_SPTE_OVERWRITE = 173
KNOB_DIRECT_ACCESS = 174
KNOB_NOTIFIER_INDEX = 175
KNOB_SHRINK_COUNT = 176
KNOB_SYNC_TRACE = 177
KNOB_ZAP_CHILDREN = 178
KNOB_ZAP_COMMIT = 179
KNOB_UNSYNC_COUNT = 180
KNOB_CR_RESET = 181
KNOB_GLOBAL_PAGES = 182
KNOB_SYNC_PROTECT = 183
KNOB_WRITE_FLUSH = 184
KNOB_LOCAL_FLUSH = 185
KNOB_RELINK_SYNC = 186
KNOB_UNSYNC_ROLES = 187
KNOB_INVLPG_SCOPE = 188
KNOB_PREFETCH = 189
KNOB_WRITE_LOST = 190
KNOB_SYNC_DROP = 191
KNOB_FAULT_RETURN = 92
KNOB_TABLE_WRITE = 93
KNOB_ROOT_PAIR = 94
BYPASS = 40
TRAP = 41  # value of "absent, tell the host"
NOTRAP = 42  # value of "absent in the guest too"
FORMAT_32 = 43  # the value of a role's format field where entries have 4 bytes

TLB = 44  # 1: the processors have a TLB (arch/tlb.py)
TLB_HITS = 45  # accesses that hit a TLB
WALKS = 46  # all others

VCPU_COUNT = 48
SLOT_COUNT = 49
LIMIT_REQUESTED = 50  # 0 until the host sets a page limit
BUG = 51  # a BUG_* code once the simulated kernel has broken
CURRENT_CPU = 52  # processor the operation runs on; -1 in host context
PAGE_FREE = 53  # free list of shadow page handles
PAGE_FREE_COUNT = 54
LINK_FREE = 55
LINK_FREE_COUNT = 56
MEM_NEXT = 57  # first unused word of mem[]
LIST_HEAD = 58  # active_mmu_pages, newest first
LIST_TAIL = 59
OOS_HEAD = 60  # every unsync page, newest first
INVALID_HEAD = 61  # zapped pages that commit_zap() will free (ZAP_COMMIT_BATCH), latest first
DEFAULT_LIMIT = 62  # KVM's default page limit for the slots there are

# Result of the latest guest walk (paging_tmpl.h: struct guest_walker)
WALK_LEVEL = 64
WALK_GFN = 65
WALK_PT_ACCESS = 66
WALK_PTE_ACCESS = 67
WALK_ERROR = 68
WALK_PTES = 70  # [level - 1]
WALK_TABLE_GFNS = 75
WALK_PTE_GPAS = 80
WRITE_PT = 85  # set when a fault must be emulated
COLLECTED = 86  # flushes deferred to the end of the current work: COLLECTED_* bits

# The event log (tracepoints.py): rows after the vCPUs, if there is a log
EVENT_END = 88  # end of their room; 0: no log
EVENT_NEXT = 89  # place of the next row
EVENT_STAMP = 90  # index of the current operation
EVENTS_LOST = 91  # rows for which there was no room

IN_BATCH = 87  # 1 while the queue is applied: flushes wait for its end
QUEUE_COUNT = 95  # words in the queue (TABLE_WRITE_QUEUED)

# The unsync walk's vector (mmu.c: struct kvm_mmu_pages), its path and its stack
VEC_COUNT = 96
VEC_SP = 97
VEC_INDEX = 113
PATH_SP = 130  # [level - 2]
PATH_INDEX = 135  # [level - 1]
STACK_SP = 140
STACK_INDEX = 146
STACK_COUNT = 152

TLBS_DIRTY = 158  # leaves that syncs dropped since the last remote flush (SYNC_DROP_NOTED)
# Counts pages that went out of sync, and links above some (SYNC_SCOPE_CHANGED)
CHANGE_EPOCH = 159
LINK_EPOCH = 160  # its value when such a link was made last

# Outcome of the current operation
OUT_ADDRESS = 161
OUT_VALUE = 162
OUT_EMULATED = 163
# What the latest hardware walk found, for the TLB
HIT_LEVEL = 164  # and where one was refused
HIT_GRANTED = 165  # of P A W U what all levels grant; bit 63: may be executed
# Of a dirty log just read: frames written since it was read before, and those of them it lacks
OUT_WRITTEN = 166
OUT_LOST = 167

HASH = 192  # HASH_SIZE bucket heads
SLOTS = HASH + HASH_SIZE
SLOT_WORDS = 8
SLOTS_MAX = MAX_SLOTS
SLOT_BASE = 0  # first gfn
SLOT_PAGES = 1
SLOT_HOST_LEVEL = 2
SLOT_LOG = 3  # a dirty bitmap is present
SLOT_FRAMES = 4  # offset of the slot's frame records in frame[]
SLOT_LARGE2 = 5
SLOT_LARGE3 = 6
SLOT_USED = 7

QUEUE = SLOTS + SLOTS_MAX * SLOT_WORDS  # addresses of table words that the guest changed
QUEUE_MAX = 64

CPUS = QUEUE + QUEUE_MAX
CPU_WORDS = 32
CPUS_MAX = MAX_VCPUS
CR0 = 0
CR3 = 1
CR4 = 2
EFER = 3
BASE_ROLE = 4
ROOT = 5  # page handle of the loaded root; PAE_LOADED: see PAE_ROOTS; 0: none
ROOT_LEVEL = 6  # guest levels: 4 long mode, 3 PAE, 2 32-bit, 0 non-paging
REQUESTS = 7
LAST_PT_WRITE_GFN = 8
LAST_PT_WRITE_COUNT = 9
LAST_PTE_UPDATED = 10  # sptep, 0: none
LAST_PTE_GFN = 11
UPDATE_GFN = 12  # the guessed mapping of a table write; -1: none
BOOTED = 13
PDPTE_RESERVED = 14  # reserved bits of a PDPTE, as the last 64-bit context left them
ROLE_LEFT = 15  # bits of BASE_ROLE that KVM_SET_SREGS left, unlike what the registers say
PDPTRS = 16  # the four cached PDPTEs
PAE_ROOTS = 20  # four page handles, 0: absent; in use while ROOT is PAE_LOADED
PAE_LOADED = -1
# The latest #PF given to the guest; a code of 0: none to prefault (FAULT_RETURN_PREFAULTS)
FAULT_GVA = 26
FAULT_CODE = 27
FAULT_CR3 = 28
PAIR_ROOT = 29  # handle of the other root of the pair, 0: none (ROOT_PAIR_KEPT)
PAIR_CR3 = 30
TLB_KEY = 24  # the TLB's generation, in the bits where keys have it
TLB_SIZES = 25  # levels of the leaves put into the TLB since the last flush, one bit each
VM_WORDS = CPUS + CPUS_MAX * CPU_WORDS  # the rows of the event log begin here
EVENT_WORDS = 8

TLB_WORDS = 4096  # of each vCPU, see arch/tlb.py

# vcpu->requests
REQ_TLB_FLUSH = 1
REQ_MMU_RELOAD = 2
REQ_TRIPLE_FAULT = 4
REQ_MMU_SYNC = 8
REQ_GUEST_FLUSH = 16  # sync the roots and flush, as Linux 5.16 does after a change of CR4.PGE
COLLECTED_REMOTE = 1
COLLECTED_LOCAL = 2

# --- page[]: headers of shadow pages (struct kvm_mmu_page) --------------------------------
# A page handle `sp` is the offset of its header; its table starts at `sp << 5` in spt[],
# 512 entries followed by the 512 gfns they map. A `sptep` is an offset into spt[].
PAGE_WORDS = 32
SPT_WORDS = 1024
GFNS = 512
GFN = 0
ROLE = 1
ROOT_COUNT = 2
UNSYNC = 3
UNSYNC_CHILDREN = 4
PARENTS = 5  # 0 none · > 0 the one sptep · < 0 minus a chain node
HASH_NEXT = 6
HASH_PREV = 7
LIST_NEXT = 8
LIST_PREV = 9
FREED = 10
SLOT_BITMAP = 11
OOS_NEXT = 12
OOS_PREV = 13
ALL_GLOBAL = 14  # only global entries were mapped here (GLOBAL_PAGES_LEFT)
EPOCH = 15  # when an out-of-sync page went so; when a root was last synced (SYNC_SCOPE_CHANGED)
BITMAP = 16  # unsync_child_bitmap: 16 words of 32 bits

# --- link[]: nodes of 8 words, for rmap descriptors and parent chains ------------------------
LINK_WORDS = 8
LINK_NEXT = 7

# --- frame[]: per guest frame and per large region of a slot; then its dirty log -----------
FRAME_WORDS = 2
RMAP = 0  # 0 none · > 0 the one sptep · < 0 minus a descriptor node
MEMORY = 1  # offset of the frame's content in mem[]; 0: never written, all zero
WRITE_COUNT = 1  # of a large region: > 0 forbids a large mapping

# --- Where the simulated kernel breaks ---------------------------------------------------------
BUG_USE_AFTER_FREE = 1
BUG_EMPTY_LIST = 2
BUG_ENDLESS_ZAP = 3
BUG_ASSERTION = 4
BUG_ENDLESS_WALK = 5
BUG_ENDLESS_LOOP = 6
BUG_LISTED_ABSENT = 7
BUG_LARGE_AS_TABLE = 8
BUG_ENDLESS_UNMAP = 9
BUG_ABORTED = 15  # not the kernel's: ABORTED was set
