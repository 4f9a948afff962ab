"""Makes trace.dat files of any shape: both versions, byte orders, sizes of a long, compressions."""

import struct
import zlib
from collections import defaultdict

import zstandard

COMMON = [
    ("unsigned short common_type", 2, 0),
    ("unsigned char common_flags", 1, 0),
    ("unsigned char common_preempt_count", 1, 0),
    ("int common_pid", 4, 1),
]
PAGE = [
    ("__u64 gfn", 8, 0),
    ("__u32 role", 4, 0),
    ("__u32 root_count", 4, 0),
    ("bool unsync", 1, 0),
]
EVENTS = {
    "kvm_entry": [("unsigned int vcpu_id", 4, 0), ("unsigned long rip", 8, 0)],
    "kvm_exit": [
        ("unsigned int exit_reason", 4, 0),
        ("unsigned long guest_rip", 8, 0),
        ("u32 isa", 4, 0),
        ("u64 info1", 8, 0),
        ("u64 info2", 8, 0),
    ],
    "kvm_page_fault": [("unsigned long fault_address", 8, 0), ("unsigned int error_code", 4, 0)],
    "kvm_cr": [("unsigned int rw", 4, 0), ("unsigned int cr", 4, 0), ("unsigned long val", 8, 0)],
    "kvm_mmu_pagetable_walk": [("__u64 addr", 8, 0), ("__u32 pferr", 4, 0)],
    "kvm_mmu_paging_element": [("__u64 pte", 8, 0), ("__u32 level", 4, 0)],
    "kvm_mmu_walker_error": [("__u32 pferr", 4, 0)],
    "kvm_mmu_get_page": [*PAGE, ("bool created", 1, 0)],
    "kvm_mmu_sync_page": PAGE,
    "kvm_mmu_unsync_page": PAGE,
    "kvm_mmu_prepare_zap_page": PAGE,
    "sched_switch": [("char prev_comm[16]", 16, 0), ("int prev_pid", 4, 1)],
    "print": [("unsigned long ip", 8, 0), ("char buf[]", 0, 0)],
}
SYSTEMS = {"sched_switch": "sched", "print": "ftrace"}


class Maker:
    """One file; ``events`` are (ns, cpu, pid, name, fields of the kernel's entry)."""

    def __init__(
        self,
        *,
        version=6,
        order="little",
        long_bytes=8,
        page_bytes=4096,
        compression="none",
        release="6.6.0",
        lost=None,
        absolute=False,
        stats="",
        print_format="",
        chunk_pages=2,
        more_options=(),
        said_cpus=None,
    ):
        self.version, self.order, self.long_bytes = version, order, long_bytes
        self.page_bytes, self.compression, self.release = page_bytes, compression, release
        self.lost, self.absolute, self.stats = lost or {}, absolute, stats
        self.print_format, self.chunk_pages = print_format, chunk_pages
        self.more_options, self.said_cpus = list(more_options), said_cpus
        self.sign = "<" if order == "little" else ">"
        self.ids = {name: 1500 + place for place, name in enumerate(EVENTS)}

    def pack(self, form, *values):
        return struct.pack(self.sign + form, *values)

    # --- formats ---------------------------------------------------------------------

    def places(self, name):
        """Offset and size of each field, aligned as a compiler would."""
        offset, found = 0, []
        for declaration, size, signed in COMMON + EVENTS[name]:
            step = max(1, min(size, 8)) if "[" not in declaration else 1
            offset = -(-offset // step) * step
            found.append((declaration, offset, size, signed))
            offset += size
        return found, -(-offset // 4) * 4

    def format_text(self, name):
        lines = [f"name: {name}", f"ID: {self.ids[name]}", "format:"]
        for place, (declaration, offset, size, signed) in enumerate(self.places(name)[0]):
            lines += [""] * (place == len(COMMON))
            lines.append(
                f"\tfield:{declaration};\toffset:{offset};\tsize:{size};\tsigned:{signed};"
            )
        return "\n".join([*lines, "", f'print fmt: "{self.print_format or "x"}"', ""]).encode()

    def record(self, name, pid, values):
        places, size = self.places(name)
        data = bytearray(size)
        for declaration, offset, width, _ in places:
            field = declaration.split()[-1].split("[")[0]
            value = {"common_type": self.ids[name], "common_pid": pid}.get(
                field, values.get(field, 0)
            )
            if field == "buf":
                data[offset:] = str(value).encode() + b"\n\0"
            elif "[" not in declaration:
                data[offset : offset + width] = int(value).to_bytes(width, self.order)
        return bytes(data) + bytes(-len(data) % 4)

    # --- pages -----------------------------------------------------------------------

    def word(self, kind, delta):
        return self.pack("I", kind | delta << 5 if self.order == "little" else kind << 27 | delta)

    def entry(self, delta, data, before):
        """One event, its time told by a delta, an extension, or a stamp."""
        head = b""
        if self.absolute and delta > 1000:
            head, delta = (
                self.word(31, (before + delta) & 0x7FFFFFF)
                + self.pack("I", (before + delta) >> 27),
                0,
            )
        elif delta >= 1 << 27:
            head, delta = self.word(30, delta & 0x7FFFFFF) + self.pack("I", delta >> 27), 0
        if len(data) // 4 <= 28:
            return head + self.word(len(data) // 4, delta) + data
        return head + self.word(0, delta) + self.pack("I", len(data) + 4) + data

    def pages(self, cpu, events):
        long_form = "Q" if self.long_bytes == 8 else "I"
        room = self.page_bytes - 8 - self.long_bytes
        pages, first, body = [], None, b""
        last = 0

        def finish():
            nonlocal body, first
            missed = self.lost.get((cpu, len(pages)))
            commit, tail = len(body), b""
            if missed is not None:
                commit |= 1 << 31
                if missed:
                    commit |= 1 << 30
                    tail = self.pack(long_form, missed)
            page = self.pack("Q" + long_form, first, commit) + body + tail
            pages.append(page.ljust(self.page_bytes, b"\0"))
            first, body = None, b""

        for time, pid, name, values in events:
            data = self.record(name, pid, values)
            if first is not None and len(body) + len(data) + 32 > room:
                finish()
            if first is None:
                first = last = time
            body += self.entry(time - last, data, last)
            last = time
        if first is not None:
            body += self.word(29, 5) + self.pack("I", 8) + bytes(4)  # a discarded event
            finish()
        return b"".join(pages)

    # --- containers ------------------------------------------------------------------

    def header_info(self):
        long = self.long_bytes
        text = (
            "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
            f"\tfield: local_t commit;\toffset:8;\tsize:{long};\tsigned:1;\n"
            "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
            f"\tfield: char data;\toffset:{8 + long};\tsize:{self.page_bytes - 8 - long};\n"
        ).encode()
        event = b"# compressed entry header\n"
        return (
            b"header_page\0"
            + self.pack("Q", len(text))
            + text
            + b"header_event\0"
            + self.pack("Q", len(event))
            + event
        )

    def formats(self, system):
        texts = [self.format_text(name) for name in EVENTS if SYSTEMS.get(name, "kvm") == system]
        return self.pack("I", len(texts)) + b"".join(self.pack("Q", len(t)) + t for t in texts)

    def systems(self):
        return self.pack("I", 2) + b"".join(
            name.encode() + b"\0" + self.formats(name) for name in ("kvm", "sched")
        )

    def options(self):
        uname = f"Linux host-7.1 {self.release} x86_64\0".encode() if self.release else b""
        found = [(5, uname)] if uname else []
        found += [(2, self.stats.encode())] if self.stats else []
        return found + self.more_options

    def pages_of(self, events, count=0):
        by_cpu = defaultdict(list)
        for time, cpu, pid, name, values in events:
            by_cpu[cpu].append((time, pid, name, values))
        count = max(count, max(by_cpu, default=0) + 1)
        return [self.pages(cpu, by_cpu[cpu]) for cpu in range(count)]

    def make(self, events, instances=None, clocks=None):
        """``instances`` are further buffers: events by name, in the order of their making."""
        pages = self.pages_of(events)
        others = {name: self.pages_of(each, len(pages)) for name, each in (instances or {}).items()}
        self.clocks = clocks or {}
        head = (
            b"\x17\x08\x44tracing"
            + b"%d\0" % self.version
            + bytes([self.order == "big", self.long_bytes])
            + self.pack("I", self.page_bytes)
        )
        return head + (
            self.rest_6(len(head), pages, others)
            if self.version == 6
            else self.rest_7(len(head), pages, others)
        )

    def option_bytes(self, options):
        return b"".join(self.pack("HI", each, len(data)) + data for each, data in options)

    def rest_6(self, at, pages, others):
        cmdlines = b"4242 qemu\n"
        options = self.option_bytes(self.options())
        size = sum(14 + len(name) + 1 for name in others)
        body = (
            self.header_info()
            + self.formats("ftrace")
            + self.systems()
            + self.pack("I", 0)
            + self.pack("I", 0)
            + self.pack("Q", len(cmdlines))
            + cmdlines
            + self.pack("I", self.said_cpus or len(pages))
            + b"options  \0"
            + options
        )
        tail = self.pack("H", 0) + b"flyrecord\0"
        end = at + len(body) + size + len(tail) + 16 * len(pages)
        table, data, place = self.table_6(end, pages)
        end = place + len(data)
        out = b""
        for name, each in others.items():
            buffer = self.pack("Q", end + len(out)) + name.encode() + b"\0"
            body += self.option_bytes([(3, buffer)])
            start = end + len(out) + 10 + 16 * len(each)
            more, filled, spot = self.table_6(start, each)
            out += b"flyrecord\0" + more + bytes(spot - start) + filled
        return (body + tail + table).ljust(place - at, b"\0") + data + out

    def table_6(self, end, pages):
        """The table of the CPUs, their pages, and where these begin: at a page's start."""
        place = -(-end // self.page_bytes) * self.page_bytes
        table, data = b"", b""
        for each in pages:
            table += self.pack("QQ", place + len(data), len(each))
            data += each
        return table, data, place

    def squeeze(self, data):
        if self.compression == "zlib":
            return zlib.compress(data)
        return zstandard.ZstdCompressor().compress(data)

    def section(self, number, data, flags=None):
        is_packed = self.compression != "none" and flags is None
        if is_packed:
            packed = self.squeeze(data)
            data = self.pack("II", len(packed), len(data)) + packed
        return self.pack("HHIQ", number, is_packed if flags is None else flags, 0, len(data)) + data

    def rest_7(self, at, pages, others):
        name = (
            self.compression.encode() + b"\0" + (b"1.0\0" if self.compression != "none" else b"\0")
        )
        out, base = bytearray(), at + len(name) + 8
        places = {}
        for number, data in (
            (16, self.header_info()),
            (17, self.formats("ftrace")),
            (18, self.systems()),
        ):
            places[number] = base + len(out)
            out += self.section(number, data)
        buffers = []
        for title, each in {"": pages, **others}.items():
            start = base + len(out)
            fly, table = self.fly_record(start + 16, each)
            out += self.section(3, fly, flags=int(self.compression != "none"))
            clock = self.clocks.get(title, "local")
            buffers.append(
                self.pack("Q", start)
                + f"{title}\0{clock}\0".encode()
                + self.pack("II", self.page_bytes, len(each))
                + b"".join(self.pack("IQQ", cpu, *where) for cpu, where in enumerate(table))
            )
        options = [
            *self.options(),
            *((3, buffer) for buffer in buffers),
            *((number, self.pack("Q", place)) for number, place in places.items()),
        ]
        place = base + len(out)
        out += self.section(0, self.option_bytes(options) + self.pack("HIQ", 0, 8, 0))
        return name + self.pack("Q", place) + bytes(out)

    def fly_record(self, at, pages):
        """The pages of all CPUs, in compressed pieces if the file is compressed."""
        data, table = b"", []
        for each in pages:
            if self.compression != "none":
                step = self.page_bytes * self.chunk_pages
                pieces = [each[i : i + step] for i in range(0, len(each), step)]
                body = self.pack("I", len(pieces))
                for piece in pieces:
                    packed = self.squeeze(piece)
                    body += self.pack("II", len(packed), len(piece)) + packed
            else:
                body = each
            table.append((at + len(data), len(body)))
            data += body
        return data, table


def guest(count=60, *, start=1_000_000_000, step=1500):
    """Two vCPUs on two CPUs: registers, faults with their walks, pages, some of other systems."""
    events = [
        (start, 0, 4242, "kvm_entry", {"vcpu_id": 0, "rip": 0x401000}),
        (start + 10, 1, 4243, "kvm_entry", {"vcpu_id": 1, "rip": 0x402000}),
        (start + 20, 0, 4242, "kvm_cr", {"rw": 1, "cr": 3, "val": 0x5200000}),
    ]
    time = start + 30
    for n in range(count):
        cpu, pid = n % 2, 4242 + n % 2
        address = (0xFFFF888000000000 if n % 5 == 0 else 0x400000) + n * 4096
        time += step if n % 7 else step << 17
        walk = [
            ("kvm_page_fault", {"fault_address": address, "error_code": 2 * (n % 3)}),
            ("kvm_mmu_pagetable_walk", {"addr": address, "pferr": 2 * (n % 3)}),
            *(
                ("kvm_mmu_paging_element", {"pte": (0x5201 + n << 12) | 0x67, "level": level})
                for level in (4, 3, 2)
            ),
            (
                "kvm_mmu_paging_element",
                {"pte": 0 if n % 4 == 3 else (0x6000 + n << 12) | 0x67, "level": 1},
            ),
            ("kvm_mmu_walker_error", {"pferr": 2 * (n % 3)})
            if n % 4 == 3
            else ("kvm_mmu_get_page", {"gfn": 0x5201 + n, "role": 0x3701, "created": n % 2}),
            (
                "kvm_mmu_prepare_zap_page" if n % 3 else "kvm_mmu_unsync_page",
                {"gfn": 0x5201 + n, "role": 0x3701, "unsync": 1},
            ),
            ("sched_switch", {"prev_pid": pid}),
        ]
        for place, (name, values) in enumerate(walk):
            events.append((time + place, cpu, pid, name, values))
    events.append((time + 100, 0, 99, "print", {"buf": "refault mark 2"}))
    return sorted(events, key=lambda event: event[:2])
