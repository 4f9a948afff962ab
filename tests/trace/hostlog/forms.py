"""One short log as each tool prints it, column by column, after the sources of the tools."""

BODIES = (
    "kvm_entry: vcpu 0, rip 0xffffffff81000000",
    "kvm_cr: cr_write 3 = 0x5200000",
    "kvm_page_fault: vcpu 0 rip 0x401000 address 0x0000000000400000 error_code 0x14",
    "kvm_mmu_pagetable_walk: addr 400000 pferr 14 U|F",
    "kvm_mmu_paging_element: pte 5201067 level 4",
    "kvm_mmu_get_page: sp gfn 5201 l3 8-byte q0 direct --x !pge !nxe root 0 sync new",
    "kvm_exit: vcpu 0 reason EXCEPTION_NMI rip 0x401000 info1 0x1 info2 0x2 intr_info 0x3 error_code 0x14",  # noqa: E501
)
HEAD = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 7/7   #P:4\n#\n"
LATENCY = "# tracer: nop\n#\n# nop latency trace v1.1.5 on 6.6.0\n# -----------------\n"
MAIL = "From: a@example.org\nSubject: Re: faults\n\nOn Monday, somebody wrote:\n"


def seconds(place):
    return f"{1234 + place}.{5678 + place:06d}"


def system(body):
    return f"{'kvmmmu' if '_mmu_' in body else 'kvm'}:{body}"


def wrapped(line, width, mark):
    """A line as a mail program breaks it, quoted or not in its second half."""
    if len(line) < width:
        return line
    at = line.rfind(" ", 0, width)
    return f"{line[:at]}\n{mark}{line[at + 1 :]}"


#: Name → the head, a line's form, and the thread, the CPU and the unit of its time in nanoseconds.
FORMS = {
    "irq columns": (HEAD, "       CPU 0/KVM-4242    [003] d..1.  {s}: {b}", 4242, 3, "s"),
    "tgid": (HEAD, "     CPU 0/KVM-4242    (   4200) [003] d..1.  {s}: {b}", 4242, 3, "s"),
    "no tgid": (HEAD, "     CPU 0/KVM-4242    (-------) [003] d..1.  {s}: {b}", 4242, 3, "s"),
    "no irq": (HEAD, "       CPU 0/KVM-4242    (  4200) [003]  {s}: {b}", 4242, 3, "s"),
    "newer flags": (HEAD, "       CPU 0/KVM-4242    [003] dNLh2.  {s}: {b}", 4242, 3, "s"),
    "counter": (HEAD, "       CPU 0/KVM-4242    [003] d..1.       {n}: {b}", 4242, 3, "n"),
    "tsc": (HEAD, "       CPU 0/KVM-4242    [003] d..1.  10123456789012{n}: {b}", 4242, 3, None),
    "latency": (LATENCY, "CPU 0/KV-4242      3d..1.  {n}us+: {b}", 4242, 3, "us"),
    "latency 0": (LATENCY, "CPU 0/KV-4242      3..... {n}us : {b}", 4242, 3, "us"),
    "latency long": (LATENCY, "CPU 0/KV-4242      3dNh2. {n}us!: {b}", 4242, 3, "us"),
    "latency counter": (LATENCY, "CPU 0/KV-4242      3dNh2. {n}+: {b}", 4242, 3, "n"),
    "latency verbose": (
        LATENCY, "       CPU 0/KVM    4242   3 0 00000000 {x} [0000{n}] 0.00{i}ms (+0.001ms): {b}",
        4242, 3, None,
    ),
    "function graph": (
        "# tracer: function_graph\n#\n", " 3)               |  /* {b} */", -1, 3, "none",
    ),
    "function graph with all columns": (
        "# tracer: function_graph\n#\n",
        " {s} |  3)  CPU 0/K-4242  |  .... |               |    /* {b} */", 4242, 3, "s",
    ),
    "kernel log": (
        "[   12.2] Dumping ftrace buffer:\n",
        "[   12.345678] CPU 0/KV-4242      3d..1.  {n}us : {b}", 4242, 3, "us",
    ),
    "kernel log with callers": (
        "", "<4>[   12.345678][ T4242] CPU 0/KV-4242      3d..1.  {n}us : {b}", 4242, 3, "us",
    ),
    "journal": (
        "", "Dec  1 05:07:11 host kernel: CPU 0/KV-4242      3d..1.  {n}us : {b}", 4242, 3, "us",
    ),
    "syslog": (
        "", "2026-12-01T05:07:11.123456+00:00 host kernel: CPU 0/KV-4242      3d..1. {n}us : {b}",
        4242, 3, "us",
    ),
    "report": ("cpus=4\n", "       CPU 0/KVM-4242  [003]  {s}: {b}", 4242, 3, "s"),
    "report -l": ("cpus=4\n", "CPU 0/KV-4242    3d..1.  {s}: {b}", 4242, 3, "s"),
    "report -R -l": ("cpus=4\n", "CPU 0/KV-4242    3-0x0  {s}: {b}", 4242, 3, "s"),
    "report --ts-diff": ("cpus=4\n", "   CPU 0/KVM-4242  [003]  {s}: (+1200)  {b}", 4242, 3, "s"),
    "report of a buffer": ("cpus=4\n", "mine:    CPU 0/KVM-4242  [003]  {s}: {b}", 4242, 3, "s"),
    "perf": ("", "       CPU 0/KVM  4242 [003] {s}:            {p}", 4242, 3, "s"),
    "perf -F pid,tid": ("", "       CPU 0/KVM  4200/4242  [003] {s}:            {p}", 4242, 3, "s"),
    "perf -F period": ("", "       CPU 0/KVM  4242 [003] {s}:          1  {p}", 4242, 3, "s"),
    "perf --ns": ("", "       CPU 0/KVM  4242 [003] {s}000:       {p}", 4242, 3, "s"),
    "perf -F tid,time,event,trace": ("", "  4242 {s}:            {p}", 4242, -1, "s"),
    "perf -F pid,tid,event,trace": ("", "  4200/4242            {p}", 4242, -1, "none"),
    "perf -F ip,sym": (
        "", "       CPU 0/KVM  4242 [003] {s}:     {p} ffffffffc0a1b2c3 vcpu_run+0x12 ([kvm])",
        4242, 3, "s",
    ),
    "perf, machines": ("", "VM:4200 VCPU:0 CPU 0/KVM  4242 [003] {s}:     {p}", 4242, 3, "s"),
    "quoted": (MAIL, "> >     CPU 0/KVM-4242    [003] .....  {s}: {b}", 4242, 3, "s"),
    "quoted by bars": (MAIL, "| | CPU 0/KVM-4242    [003] .....  {s}: {b}", 4242, 3, "s"),
    "quoted by initials": (MAIL, "PB>  CPU 0/KVM-4242    [003] .....  {s}: {b}", 4242, 3, "s"),
    "carriage returns": (HEAD, "   CPU 0/KVM-4242    [003] .....  {s}: {b}\r", 4242, 3, "s"),
    "a mark of UTF-8": ("\ufeff", "   CPU 0/KVM-4242    [003] .....  {s}: {b}", 4242, 3, "s"),
}  # fmt: skip


def text_of(name, between=None):
    """The log in one form; ``between`` are lines to put before the event of that place."""
    head, form, *_ = FORMS[name]
    lines = []
    for place, body in enumerate(BODIES):
        lines += (between or {}).get(place, [])
        lines.append(
            form.format(
                s=seconds(place), b=body, p=system(body), n=1000 + place, x=f"{place:08x}", i=place
            )
        )
    return head + "\n".join(lines) + "\n"


def time_of(place, unit):
    """When the event of a place was, as :func:`text_of` wrote it; None where it is not fixed."""
    return {
        "s": (1234 + place) * 10**9 + (5678 + place) * 1000,
        "us": (1000 + place) * 1000,
        "n": 1000 + place,
        "none": -1,
    }.get(unit)
