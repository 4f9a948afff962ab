"""Address streams: read as their tools write them, run through the synthetic guest."""

import gzip
import lzma
import random
from pathlib import Path

import numpy as np
import pytest

from refault.catalogue import PatchSet, resolve
from refault.errors import ImportFailed, RefaultError
from refault.replay.session import replay
from refault.synth.streams import convert
from refault.trace import EventKind, TraceReader
from refault.trace.contents import join_blocks
from refault.trace.importers import champsim, drmemtrace, lackey
from refault.trace.importers.recognition import Kind, look
from refault.trace.importers.registry import CHAMPSIM, DRMEMTRACE, LACKEY, Wanted
from tests.synth import made_streams as made

SAMPLES = Path(__file__).parent / "streams"
VARIANTS = [resolve(PatchSet("walk")), resolve(PatchSet())]
FETCH, READ, WRITE = 2, 0, 1


def imported(path, tmp_path, **given):
    """The trace of a stream; it must replay with every witness agreeing."""
    importer = look(path).importer
    target = tmp_path / "made.rft"
    summary = convert(importer, path, target, Wanted(name="made", level=1, **given))
    for result in replay(target, VARIANTS):
        assert not result.finding_count, result.findings
        assert result.semantics["witnessed"] == result.semantics["accesses"] > 0
    with TraceReader(target) as trace:
        return summary, join_blocks(list(trace.blocks()))


def programs_pages(events):
    """Page and kind of the program's recorded accesses, in order."""
    user = (events.kind == EventKind.ACCESS) & (events.flags & 4 != 0)
    return list(
        zip((events.a[user] >> 12).tolist(), (events.flags[user] & 3).tolist(), strict=True)
    )


def references(opened):
    batches = list(opened.references)
    return [np.concatenate(column) for column in list(zip(*batches, strict=True))[:5]]


# --- the samples ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "importer", "count"),
    [
        ("sample.lackey.log", LACKEY, 10),
        ("sample.champsimtrace", CHAMPSIM, None),
        ("sample.champsimtrace.gz", CHAMPSIM, None),
        ("sample.champsimtrace.xz", CHAMPSIM, None),
        ("drmemtrace.sample.5000.0001.trace", DRMEMTRACE, None),
        ("drmemtrace.sample.5000.0001.trace.gz", DRMEMTRACE, None),
        ("mapped/drmemtrace.sample.5000.0001.trace", DRMEMTRACE, None),
    ],
)
def test_a_sample_is_known_by_its_content_and_becomes_a_trace(name, importer, count, tmp_path):
    path = tmp_path / "no-hint-in-the-name"
    path.write_bytes((SAMPLES / name).read_bytes())
    found = look(path)
    assert found.kind is Kind.IMPORTABLE
    assert found.importer is importer
    summary, events = imported(SAMPLES / name, tmp_path)
    assert summary.header.origin == "addresses"
    assert any("real addresses, synthetic tables" in loss for loss in summary.header.losses)
    assert summary.recorded["references"] > 5
    assert count is None or summary.recorded["references"] == count
    assert programs_pages(events)


# --- lackey ---------------------------------------------------------------------------------------


def test_lackeys_lines_are_read_and_all_others_left_out():
    found = lackey.parse(made.LACKEY.encode())
    assert list(
        zip(found.address.tolist(), found.flags.tolist(), found.size.tolist(), strict=True)
    ) == [
        (0x0401_B770, FETCH, 1),
        (0x1F_FF00_0760, WRITE, 8),
        (0x0401_B771, FETCH, 7),
        (0x0422_2CAC, READ, 4),
        (0x0421_C7CC, READ, 4),
        (0x0421_C7CC, WRITE, 4),
        (0x0040_1FFE, FETCH, 4),
        (0x0422_2FFC, READ, 16),
    ]


def test_lackeys_page_crossing_access_touches_both_pages(tmp_path):
    path = tmp_path / "log"
    path.write_text(made.LACKEY)
    _, events = imported(path, tmp_path)
    pages = programs_pages(events)
    assert (0x4222, READ) in pages
    assert (0x4223, READ) in pages
    assert (0x402, FETCH) in pages


def test_the_course_variant_and_carriage_returns_are_read():
    text = b"I 0400d7d4,8\r\n M 0421c7f0,4\n L 04f6b868,8\r\n S 7ff0005c8,8\n"
    found = lackey.parse(text)
    assert lackey.recognises(text)
    assert found.address.tolist() == [0x400_D7D4, 0x421_C7F0, 0x421_C7F0, 0x4F6_B868, 0x7_FF00_05C8]


def test_a_log_read_in_any_chunks_is_the_same(tmp_path, monkeypatch):
    lines = [f" {'LSM'[i % 3]} {0x1000 * i + i:08x},{1 + i % 16}\n" for i in range(1, 3000)]
    path = tmp_path / "log"
    path.write_text("".join(lines))
    whole = references(lackey.open_log(path))
    monkeypatch.setattr(lackey, "CHUNK_BYTES", 777)
    parts = references(lackey.open_log(path))
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_a_mail_about_lackey_is_no_log():
    mail = b"From: a@b\nSubject: lackey\n\n L 04222cac,4\n S 04222cac,4\n L 04222cac,4\n"
    assert not lackey.recognises(mail)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("==1== Lackey, an example Valgrind tool\n==1== \n", "no reference in this log"),
        (made.LACKEY + " L 0422", "the file is cut"),
        ("==1== Lackey\n" + "x" * (1 << 17), "a line longer than"),
    ],
)
def test_a_damaged_log_is_refused_by_place(text, why, tmp_path):
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(ImportFailed, match=why):
        convert(LACKEY, path, tmp_path / "out.rft", Wanted())
    assert [each.name for each in tmp_path.iterdir()] == ["log"]


def test_a_log_of_several_processes_is_refused_for_no_line_says_whose_it_is(tmp_path):
    path = tmp_path / "log"
    child = made.LACKEY.replace("==777==", "==779==")
    for text in (made.LACKEY + child, child + "I  00401000,4\n" * 90_000 + made.LACKEY):
        path.write_text(text)
        with pytest.raises(ImportFailed, match=r"777 and 779 .* --log-file=lackey.%p.log"):
            convert(LACKEY, path, tmp_path / "out.rft", Wanted())
    assert [each.name for each in tmp_path.iterdir()] == ["log"]


def test_what_lackey_and_valgrind_print_between_the_lines_is_left_out(tmp_path):
    text = made.LACKEY.replace("==777==", "==00:00:00:00.123 777==")
    text = text.replace("I  00401ffe,4", "SB 00401ffe\n--777-- verbose\nI  00401ffe,4")
    (tmp_path / "log").write_text(text)
    assert look(tmp_path / "log").importer is LACKEY
    found, wanted = lackey.parse(text.encode()), lackey.parse(made.LACKEY.encode())
    assert found.address.tolist() == wanted.address.tolist()
    imported(tmp_path / "log", tmp_path)


# --- ChampSim -------------------------------------------------------------------------------------

ROWS = [
    (0x40_1000 + 4 * i, [0x7F00_0000_0000 + 4096 * (i % 9)], [0x7FFE_0000_1000] if i % 2 else [])
    for i in range(300)
]


@pytest.mark.parametrize("size", [64, 72])
def test_both_sizes_of_champsims_records_give_the_same_references(size, tmp_path):
    path = tmp_path / "trace"
    path.write_bytes(made.champsim(ROWS, size=size))
    assert look(path).importer is CHAMPSIM
    opened = champsim.open_trace(path)
    assert opened.facts["record_bytes"] == size
    _, _, address, flags, _ = references(opened)
    wanted = []
    for ip, loads, stores in ROWS:
        wanted += [(ip, FETCH), *((each, READ) for each in loads), *((s, WRITE) for s in stores)]
    assert list(zip(address.tolist(), flags.tolist(), strict=True)) == wanted
    summary, _ = imported(path, tmp_path)
    assert summary.recorded["references"] == len(wanted)


def test_cloudsuites_records_have_an_address_space_which_is_a_process(tmp_path):
    rows = [(*row, 1 + place // 100) for place, row in enumerate(ROWS)]
    path = tmp_path / "trace"
    path.write_bytes(made.cloudsuite(rows))
    assert look(path).importer is CHAMPSIM
    opened = champsim.open_trace(path)
    assert opened.facts["record_bytes"] == 96
    process, _, address, flags, _ = references(opened)
    wanted = []
    for ip, loads, stores, space in rows:
        wanted.append((ip, FETCH, space))
        wanted += [(each, READ, space) for each in loads]
        wanted += [(each, WRITE, space) for each in stores]
    found = zip(address.tolist(), flags.tolist(), process.tolist(), strict=True)
    assert list(found) == wanted
    summary, _ = imported(path, tmp_path)
    assert summary.recorded["processes"] == 3


def test_champsims_kernel_addresses_are_left_out_and_counted(tmp_path):
    rows = [*ROWS[:5], (0xFFFF_FFFF_8100_0000, [0xFFFF_8880_0000_0000], [])]
    path = tmp_path / "trace"
    path.write_bytes(made.champsim(rows))
    summary, _ = imported(path, tmp_path)
    assert summary.recorded["references_left_out"] == 2


def test_a_cut_champsim_trace_is_refused(tmp_path):
    path = tmp_path / "trace"
    path.write_bytes(made.champsim(ROWS)[:-9])
    with pytest.raises(ImportFailed, match="ends inside a record of 64 bytes"):
        convert(CHAMPSIM, path, tmp_path / "out.rft", Wanted())


# --- drmemtrace -----------------------------------------------------------------------------------


def saved(tmp_path, data, name="a.trace"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("version", range(1, 8))
def test_every_version_is_read(version, tmp_path):
    path = saved(tmp_path, made.drmemtrace(*made.many_references(400), version=version))
    summary, _ = imported(path, tmp_path)
    assert summary.recorded == {
        "references": 400,
        "references_left_out": 0,
        "processes": 1,
        "threads": 1,
    }
    assert summary.header.provenance["format_version"] == version


def test_short_records_of_builds_for_32_bits_are_read(tmp_path):
    records = [
        made.marker(made.M_FILE_TYPE, 0x20),
        *((kind, size, address & 0x3FFF_FFFF) for kind, size, address in made.many_references(300)),
        (made.INSTRUCTION, 4, 0x40_0FF8), (17, 3, 0x05_0302), (made.READ, 8, 0xBFFF_F000),
    ]  # fmt: skip
    long = saved(tmp_path, made.drmemtrace(*records), "long")
    short = saved(tmp_path, made.drmemtrace(*records, pack=made.short_record), "short")
    assert look(short).importer is DRMEMTRACE
    opened = drmemtrace.open_trace(short)
    assert opened.facts["machine"] == "x86, 32 bits"
    for one, other in zip(references(opened), references(drmemtrace.open_trace(long)), strict=True):
        assert one.tolist() == other.tolist()
    imported(short, tmp_path)
    saved(tmp_path, short.read_bytes()[:-5], "short")
    with pytest.raises(ImportFailed, match=r"byte 2456 of the content: .* inside a record"):
        convert(DRMEMTRACE, short, tmp_path / "out.rft", Wanted())


def test_a_file_of_one_core_has_footers_and_threads_in_its_middle(tmp_path):
    part = made.many_references(20)
    inside = [(26, 0, 0), (22, 4, 12), (24, 4, 10), *part, (26, 0, 0), made.marker(3, 1), *part]
    core = made.marker(made.M_FILE_TYPE, 0x10040)
    path = saved(tmp_path, made.drmemtrace(core, *part, *inside))
    _, thread, address, _, _ = references(drmemtrace.open_trace(path))
    assert len(address) == 60
    assert thread.tolist() == [11] * 20 + [12] * 40
    whole = saved(tmp_path, made.drmemtrace(made.marker(made.M_FILE_TYPE, 0x40), *part, *inside))
    with pytest.raises(ImportFailed, match="where a header must"):
        references(drmemtrace.open_trace(whole))


@pytest.mark.parametrize(
    ("bits", "machine", "loss"),
    [(0x40, "x86-64", None), (0x48 - 0x40, "AArch64", "the tables of AArch64"),
     (0x140, "x86-64", "which filtered the trace")],
)  # fmt: skip
def test_what_the_trace_is_of_stands_in_the_header(tmp_path, bits, machine, loss):
    records = [made.marker(12, 7), made.marker(made.M_FILE_TYPE, bits), *made.many_references(50)]
    summary, _ = imported(saved(tmp_path, made.drmemtrace(*records)), tmp_path)
    assert summary.header.provenance["machine"] == machine
    losses = " ".join(summary.header.losses)
    assert loss is None or loss in losses
    assert ("filtered" in losses) == (bits == 0x140)


def test_a_zip_of_chunks_and_gzip_give_the_plain_files_trace(tmp_path):
    data = made.drmemtrace(*made.many_references(2_000))
    plain, _ = imported(saved(tmp_path, data), tmp_path)
    made.zipped(tmp_path / "b.zip", data)
    made.zipped(tmp_path / "c.zip", data, method=0)
    saved(tmp_path, gzip.compress(data), "d.gz")
    saved(tmp_path, lzma.compress(data), "e.xz")
    for name in ("b.zip", "c.zip", "d.gz", "e.xz"):
        summary, _ = imported(tmp_path / name, tmp_path)
        assert summary.digest == plain.digest, name


def test_only_what_touches_memory_is_a_reference(tmp_path):
    records = [
        (47, 4, 0x1234),  # the bytes of an instruction
        (made.INSTRUCTION, 4, 0x40_0000),
        (made.READ, 8, 0x7F00_0000_0000),
        (2, 8, 0x7F00_0010_0000),  # a prefetch
        (18, 64, 0x7F00_0020_0000),  # a flush
        made.marker(25, 9),
        (48, 2, 0x40_0004),
        (made.WRITE, 8, 0xFFFF_FFFF_FF60_0000),  # outside user space
        (29, 2, 0x40_0008),
    ]
    path = saved(tmp_path, made.drmemtrace(*records))
    _, _, address, flags, _ = references(drmemtrace.open_trace(path))
    assert address.tolist() == [0x40_0000, 0x7F00_0000_0000, 0x40_0004, 0x40_0008]
    assert flags.tolist() == [FETCH, READ, FETCH, FETCH]


def test_a_bundle_is_the_fetch_of_what_follows(tmp_path):
    lengths = int.from_bytes(bytes([2, 3, 5]), "little")
    records = [(made.INSTRUCTION, 4, 0x40_0FF8), (17, 3, lengths), (17, 1, 7)]
    path = saved(tmp_path, made.drmemtrace(*records))
    _, _, address, flags, size = references(drmemtrace.open_trace(path))
    assert address.tolist() == [0x40_0FF8, 0x40_0FFC, 0x40_1006]
    assert size.tolist() == [4, 10, 7]
    assert flags.tolist() == [FETCH] * 3


def test_processes_have_tables_of_their_own_and_threads_share_them(tmp_path):
    turns = []
    for turn in range(40):
        turns += [(22, 4, 100 + turn % 4), (24, 4, 10 + turn % 4 // 2)]
        turns += made.many_references(30, seed=turn)
    path = saved(tmp_path, made.drmemtrace(*turns))
    summary, events = imported(path, tmp_path)
    assert summary.recorded["processes"] == 2
    assert summary.recorded["threads"] == 4
    loads = events.a[(events.kind == EventKind.CR) & (events.aux == 3)]
    assert len(set(loads.tolist())) >= 3


def test_physical_markers_make_pages_share_a_frame(tmp_path):
    first, second, third = 0x7F00_0000_0000, 0x7F11_0000_0000, 0x7F22_0000_0000
    records = [
        made.marker(made.M_PAGE_SIZE, 4096),
        made.marker(made.M_PHYSICAL, 0x1234_5000),
        made.marker(made.M_VIRTUAL, first),
        (made.WRITE, 8, first),
        made.marker(made.M_PHYSICAL, 0x1234_5000),
        made.marker(made.M_VIRTUAL, second),
        (made.WRITE, 8, second),
        (made.WRITE, 8, third),
        made.marker(made.M_PHYSICAL, 0x9999_9000),  # the page moves
        made.marker(made.M_VIRTUAL, second),
        (made.WRITE, 8, second),
    ]
    _, events = imported(saved(tmp_path, made.drmemtrace(*records)), tmp_path)
    user = (events.kind == EventKind.ACCESS) & (events.flags & 4 != 0)
    frames = {}
    for a, b in zip(events.a[user].tolist(), events.b[user].tolist(), strict=True):
        frames.setdefault(a & -4096, []).append(b >> 12)
    assert frames[first][0] == frames[second][0]
    assert frames[first][0] != frames[third][0]
    assert frames[second][-1] not in {frames[first][0], frames[third][0]}
    assert EventKind.INVLPG in events.kind


def test_a_mapping_file_beside_the_trace_is_used(tmp_path):
    saved(
        tmp_path,
        b"address_mapping_group {\n page_size: 4096\n address_mapping {\n"
        b" virtual_address: 0x7f0000000000\n physical_address: 81920\n }\n address_mapping {\n"
        b" virtual_address: 0x7f1100000000\n physical_address: 81920\n }\n}\n",
        "v2p.textproto",
    )
    records = [(made.WRITE, 8, 0x7F00_0000_0000), (made.WRITE, 8, 0x7F11_0000_0000)]
    summary, events = imported(saved(tmp_path, made.drmemtrace(*records)), tmp_path)
    user = (events.kind == EventKind.ACCESS) & (events.flags & 4 != 0)
    assert len(set((events.b[user] >> 12).tolist())) == 1
    assert summary.header.provenance["mapped_pages"] == 2


def test_a_folder_of_threads_is_merged_by_time(tmp_path):
    folder = tmp_path / "app" / "trace"
    folder.mkdir(parents=True)
    for thread in (1, 2):
        records = []
        for turn in range(5):
            records.append(made.marker(made.M_TIMESTAMP, 100 + 10 * turn + thread))
            records.append((made.READ, 8, 0x10_0000 * thread + 4096 * turn))
        saved(folder, made.drmemtrace(*records, thread=thread, process=9), f"t{thread}.trace")
    assert look(folder.parent).importer is DRMEMTRACE
    _, thread, address, _, _ = references(drmemtrace.open_trace(folder.parent))
    assert thread.tolist() == [1, 2] * 5
    assert address.tolist() == [
        0x10_0000 * number + 4096 * turn for turn in range(5) for number in (1, 2)
    ]
    imported(folder.parent, tmp_path)


def test_a_folder_of_different_things_is_not_one_trace(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("a.trace", "b.trace"):
        saved(folder, made.drmemtrace(*made.many_references(20)), name)
    assert look(folder).importer is DRMEMTRACE
    saved(folder, made.LACKEY.encode(), "c.log")
    assert look(folder).kind is Kind.FOLDER


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (made.drmemtrace(*made.many_references(50))[:-5], "ends inside a record"),
        (made.drmemtrace(*made.many_references(50), footer=False), "without its footer"),
        (made.drmemtrace((999, 4, 0)), "of no known type"),
        (made.drmemtrace() + made.record(0, 8, 4096), "where a header must"),
        (made.drmemtrace(made.marker(made.M_PAGE_SIZE, 16384)), "pages of 16384 bytes"),
        (made.drmemtrace(), "no reference of a program"),
        (made.drmemtrace((25, 0, 99)), "version other than 1 to 7"),
    ],
)
def test_a_damaged_trace_is_refused_by_place(data, why, tmp_path):
    path = saved(tmp_path, data)
    with pytest.raises(ImportFailed, match=why):
        convert(DRMEMTRACE, path, tmp_path / "out.rft", Wanted())
    assert [each.name for each in tmp_path.iterdir()] == ["a.trace"]


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        (24, 0xFFFF_FFF0, "is said to hold 4294967280 bytes and holds"),
        (42, 0x7FFF_FFF0, "is damaged"),
    ],
)
def test_an_archive_whose_sizes_lie_is_refused(place, value, why, tmp_path):
    path = tmp_path / "a.zip"
    made.zipped(path, made.drmemtrace(*made.many_references(500)))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02") + place
    data[entry : entry + 4] = value.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ImportFailed, match=why):
        convert(DRMEMTRACE, path, tmp_path / "out.rft", Wanted())
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


def test_too_many_processes_are_refused(tmp_path):
    turns = []
    for number in range(300):
        turns += [(24, 4, number), (made.READ, 8, 0x10_0000)]
    path = saved(tmp_path, made.drmemtrace(*turns))
    with pytest.raises(ImportFailed, match="more than 256 processes"):
        convert(DRMEMTRACE, path, tmp_path / "out.rft", Wanted())


def test_a_guest_smaller_than_the_program_reclaims(tmp_path):
    records = [(made.WRITE, 8, 0x10_0000_0000 + 4096 * page) for page in range(12_000)]
    path = saved(tmp_path, made.drmemtrace(*records, *records[:3000]))
    summary, _ = imported(path, tmp_path, ram_mib=64)
    assert summary.recorded["references"] == 15_000


# --- any bytes ------------------------------------------------------------------------------------


def sources():
    return {
        "lackey": made.LACKEY.encode() * 40,
        "champsim": made.champsim(ROWS),
        "drmemtrace": made.drmemtrace(*made.many_references(600)),
        "drmemtrace of 32 bits": made.drmemtrace(
            *made.many_references(600), pack=made.short_record
        ),
        "cloudsuite": made.cloudsuite([(*row, 1) for row in ROWS]),
        "core": made.drmemtrace(
            made.marker(made.M_FILE_TYPE, 0x10040),
            *made.many_references(300),
            (26, 0, 0),
            *made.many_references(300),
        ),
    }


def harmed(whole, dice, turn):
    """The content cut off, with bits flipped, spliced, or grown."""
    data = bytearray(whole)
    if turn % 3 == 0:
        del data[dice.randrange(len(data)) :]
    for _ in range(turn % 5 if data else 0):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    if turn % 4 == 3 and data:
        first, second = sorted(dice.randrange(len(data)) for _ in range(2))
        data = data[:first] + data[second:] if turn % 8 == 3 else data[:second] + data[first:]
    return data


@pytest.mark.parametrize("name", [*sources(), "drmemtrace.zip", "gzip"])
def test_cut_and_flipped_files_are_an_error_or_a_trace_and_leave_nothing_behind(name, tmp_path):
    dice = random.Random(name)
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "stream"
    if name == "drmemtrace.zip":
        made.zipped(path, sources()["drmemtrace"])
        whole = path.read_bytes()
    elif name == "gzip":
        whole = gzip.compress(sources()["champsim"], mtime=0)
    else:
        whole = sources()[name]
    errors = []
    for turn in range(60):
        data = harmed(whole, dice, turn)
        path.write_bytes(data)
        found = look(path)
        target = tmp_path / "out.rft"
        try:
            if found.importer is None:
                raise ImportFailed(found.refusal())
            convert(found.importer, path, target, Wanted(level=1))
        except RefaultError as error:
            errors.append(str(error))
        else:
            target.unlink()
        assert [each.name for each in tmp_path.iterdir()] == ["in"]
    assert len(errors) > 5
    assert all(str(path) in error and "Traceback" not in error for error in errors)
