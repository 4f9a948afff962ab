"""The words of this service; docs/GLOSSARY.md has the same sentences."""

from __future__ import annotations

from refault.glossary.entry import TERMS, Entry

ENTRIES = (
    Entry(
        "trace",
        TERMS,
        "a captured, immutable file of guest and host memory events, named by its digest",
    ),
    Entry(
        "event",
        TERMS,
        "one entry of a trace: one row of seven columns, counted from 0",
    ),
    Entry(
        "patch",
        TERMS,
        "one proposed change to the MMU, from the catalogue, with its author, date and fate",
    ),
    Entry(
        "patch set",
        TERMS,
        "an ordered list of patches on a base, with parameters",
    ),
    Entry(
        "engine",
        TERMS,
        "executes a trace's operations: shadow, the model of KVM's shadow MMU of 2010; "
        "kernel, the code of a tree of one's own; or walk, the architecture alone",
    ),
    Entry(
        "variant",
        TERMS,
        "what a patch set and its parameters resolve to: an engine and a complete "
        "configuration of it, with a digest",
    ),
    Entry(
        "build",
        TERMS,
        "a program compiled from a tree, perhaps with patches, named by a digest of all that "
        "was read; the variant kernel:NAME runs it",
    ),
    Entry(
        "host",
        TERMS,
        "one variant's simulated machine in a session, opened by its engine",
    ),
    Entry(
        "operation",
        TERMS,
        "what a host executes, one row each; a capture's events are lowered to operations "
        "once for all engines",
    ),
    Entry(
        "run",
        TERMS,
        "one trace under one variant",
    ),
    Entry(
        "shard",
        TERMS,
        "the unit of work a worker takes: one trace under a few variants of one engine, "
        "decoded once",
    ),
    Entry(
        "snapshot",
        TERMS,
        "the saved state of a replay between two parts of its trace, which resumes with the "
        "same bytes",
    ),
    Entry(
        "blob",
        TERMS,
        "the bytes of a trace, a file in the store named by its sha256",
    ),
    Entry(
        "upload",
        TERMS,
        "a resumable transfer of a trace in several requests; unfinished, it expires",
    ),
    Entry(
        "batch",
        TERMS,
        "traces × patch sets, planned into runs, cut into shards",
    ),
    Entry(
        "counters",
        TERMS,
        "the counts of a run, under KVM's debugfs names, plus work counts",
    ),
    Entry(
        "finding",
        TERMS,
        "a broken invariant, with the event and the operation where it broke",
    ),
    Entry(
        "audit",
        TERMS,
        "the specification's invariants checked while a variant runs: a document beside its result",
        more="howto/audit.md",
    ),
    Entry(
        "divergence",
        TERMS,
        "the first operation at which two variants differ on a trace, in what is seen, in the "
        "shadow pages or in a counter",
        more="howto/diverge.md",
    ),
    Entry(
        "view",
        TERMS,
        "one variant's MMU before an operation of a trace, with the history of what is shown",
        more="howto/inspect.md",
    ),
    Entry(
        "question",
        TERMS,
        "what a project asks of a trace beyond results: an audit, a divergence or an "
        "inspection; workers answer it with a document",
        more="howto/questions.md",
    ),
    Entry(
        "document",
        TERMS,
        "what watched a run, or was found in one: bytes named by a key of kind, level and the "
        "digests of trace, variant and engine",
    ),
    Entry(
        "comparison",
        TERMS,
        "two or more runs of the same trace",
    ),
    Entry(
        "address space",
        TERMS,
        "a root that CR3 holds at some time in a trace, without its flags and PCID",
    ),
    Entry(
        "bypass",
        TERMS,
        "whether a fault on a guest entry that is not present goes to the guest without an "
        "exit (bypass_guest_pf)",
    ),
    Entry(
        "digest",
        TERMS,
        "a sha256, in hexadecimal: of a trace's file, of a variant's engine, knobs and "
        "parameters, of an engine's code",
    ),
    Entry(
        "event log",
        TERMS,
        "the output of KVM's tracepoints for a run (refault replay --events)",
    ),
    Entry(
        "finding kind",
        TERMS,
        "wrong-address, missed-fault, use-after-free, empty-list, endless-zap, endless-walk, "
        "endless-loop, large-as-table, … : what was broken. Of a kernel of one's own: "
        "kernel-warning (WARN), missed-flush, bug, signal, sanitizer, missing-function, "
        "wild-table, out-of-memory, sandbox (a forbidden system call), crash",
    ),
    Entry(
        "form",
        TERMS,
        "of a patch: another way to make the same change, or one piece of it as it was "
        "merged; form_of names the patch",
    ),
    Entry(
        "golden",
        TERMS,
        "obtained from the real kernel code; a golden name is the variant's name in that data",
    ),
    Entry(
        "merged-2.6.36 and the like",
        TERMS,
        "the patch set of what that release contains of the April 2010 series, and of nothing else",
    ),
    Entry(
        "layout",
        TERMS,
        "the order and types of the fields of struct kvm_mmu_page; it affects memory, not "
        "behaviour",
    ),
    Entry(
        "page limit",
        TERMS,
        "how many shadow pages the host allows, KVM's n_alloc_mmu_pages; by default 2 % of "
        "guest memory, at least 64",
    ),
    Entry(
        "parameters",
        TERMS,
        "settings of a variant that no patch makes: page limit, bypass, host page level, TLB, "
        "two-dimensional paging",
    ),
    Entry(
        "simulator",
        TERMS,
        "one version of an engine, named by its digest; workers register theirs, and each "
        "result names its own",
    ),
    Entry(
        "simulator digest",
        TERMS,
        "digest of an engine's source without comments and docstrings, and of the semantics "
        "version; some have earlier names (lineage)",
    ),
    Entry(
        "lineage",
        TERMS,
        "earlier digests of an engine whose files were moved without a change of behaviour: "
        "results under them are not stale",
    ),
    Entry(
        "kernel of one's own",
        TERMS,
        "a Linux tree of the user's, whose MMU code is built and run as a variant; never shipped",
        more="howto/bring-your-kernel.md",
    ),
    Entry(
        "tree",
        TERMS,
        "the source of a Linux kernel: a directory, an archive or a Debian package",
    ),
    Entry(
        "standing",
        TERMS,
        "of an objection in a thread: whether the data bears it out, refutes it, or does not "
        "come to the point (refault/thread)",
    ),
    Entry(
        "column",
        TERMS,
        "of a comparison: one variant, with the label of the patch set or of the prefix that "
        "makes it; two that make the same machine share one",
    ),
    Entry(
        "real code",
        TERMS,
        "of a column: the name under which the real kernel code was run with these patches "
        'and agreed; "no real-code result" means that it never was, and the numbers are the '
        "model's alone",
    ),
    Entry(
        "already known",
        TERMS,
        "of a run: its result was found by its digests, and nothing was simulated for it",
    ),
    Entry(
        "threshold",
        TERMS,
        "how far a cost must move to count: by default more than 1 % of the smaller of the "
        "two values, and at least one in every 10,000 operations of the trace",
    ),
    Entry(
        "geometric mean",
        TERMS,
        "of ratios to the base, over all traces: one that halves and one that doubles give 1",
    ),
    Entry(
        "cost model",
        TERMS,
        "modelled cycles: exact counts times weights; beside a comparison; decides a verdict "
        "only where costs disagree",
    ),
    Entry(
        "balance",
        TERMS,
        "what moved between a base and a column: the costs that rose, those that fell, and "
        "their sum in modelled cycles (refault/compare/balance.py)",
    ),
    Entry(
        "lean",
        TERMS,
        "which way a balance goes: better, worse, or neither",
    ),
    Entry(
        "notable",
        TERMS,
        "of a change: beyond its threshold or limit, in a column whose counters are held "
        "against the base's; only such changes are coloured",
    ),
    Entry(
        "weight",
        TERMS,
        "of a cost model: cycles for each of what a counter counts",
    ),
    Entry(
        "timeline",
        TERMS,
        "samples of every counter over the guest's time, of one run: a document beside its result",
    ),
    Entry(
        "attribution",
        TERMS,
        "one run's counters split by cause, region of the guest, address space and mark; a "
        "document beside its result",
    ),
    Entry(
        "level",
        TERMS,
        "of an audit: how closely it looks: off, sampled, flush, every; of a page table: its "
        "distance from the leaves",
    ),
    Entry(
        "known exception",
        TERMS,
        "a check that the real kernel failed too, by its name in the specification (F-X1 to "
        "F-X6, or a section)",
    ),
    Entry(
        "prefix",
        TERMS,
        "of a series: its first patches, up to one of them; NAME+1..3 is a build with the "
        "first three",
    ),
    Entry(
        "check",
        TERMS,
        "of an audit: one invariant, by the specification's name (F-T5); of a build: the demo "
        "captures replayed under the tree without patches; every access must come out as on "
        "the real guest",
    ),
    Entry(
        "retention rule",
        TERMS,
        "after how many days a project deletes traces that no batch uses and that lack the "
        "tag keep; off by default",
    ),
    Entry(
        "plan",
        TERMS,
        "how a batch turns patch sets into columns: each, series, ablation (leave one out), "
        "matrix (chosen axes)",
    ),
    Entry(
        "interaction",
        TERMS,
        "of two patches: what both do beyond the sum of what each does alone, where columns have "
        "neither, each, and both",
    ),
    Entry(
        "stale",
        TERMS,
        "of a result: made by another version of its engine than the workers run now, and not "
        "of its lineage",
    ),
    Entry(
        "diff id",
        TERMS,
        "a digest of the lines a patch adds and removes; it identifies a mailed patch where "
        "the context lines agree too; a subject alone makes a candidate",
    ),
    Entry(
        "limit",
        TERMS,
        "how much a counter may worsen in a project before it is a regression",
    ),
    Entry(
        "TDP",
        TERMS,
        "two-dimensional paging (EPT, NPT): the processor walks the guest's tables and KVM's, "
        "so nothing is shadowed; tdp=1 of a kernel of one's own",
    ),
    Entry(
        "TLB hit",
        TERMS,
        "an access whose translation the processor's TLB still held; every other access walks "
        "the shadow tables",
        also=("walk",),
    ),
    Entry(
        "verdict",
        TERMS,
        "one word per compared column, in the order of refault/compare: integrity before "
        "semantics before speed",
    ),
    Entry(
        "webhook",
        TERMS,
        "an address of a project that gets a message when a batch ends or an integrity alarm "
        "is raised",
    ),
    Entry(
        "witness",
        TERMS,
        "a guest page fault that the capture recorded: what the real guest saw, to check the "
        "simulator against",
    ),
    Entry(
        "base",
        TERMS,
        "the kernel version a patch set starts from: a complete set of knobs",
    ),
)
