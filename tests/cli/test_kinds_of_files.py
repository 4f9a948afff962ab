"""Every verb that takes a file, given every kind of file: what it is, and which verb reads it."""

import bz2
import gzip
import json
import lzma
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import zstandard

from refault.cli.exits import ExitCode
from refault.trace import TraceReader
from refault.trace.importers.recognition import Kind, look
from tests.builders import make_result
from tests.cli.running import command, environment, run_here
from tests.cli.test_import_command import capture
from tests.fixtures.api import trace_bytes
from tests.synth import made_streams

VECTOR = b'["vm",1,0]\n["mem",0,0,64]\n'
MAIL = b"From: A <a@example.org>\nSubject: [PATCH] x\n\nnothing\n"
EVENTS = b"# tracer: nop\n#\n qemu-42 [000] 1.000001: kvm_cr: cr_write 0 = 0x1\n"
CHAMPSIM = b"".join(n.to_bytes(8, "little") + b"\1\0" + bytes(54) for n in (0x401000, 0x401003))
PERF = b" qemu-system-x86    4242 [000]     1.000001:      kvm:kvm_cr: cr_write 0 = 0x80050033\n"
PACKERS = {
    "gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress,
    "zst": zstandard.ZstdCompressor().compress,
}  # fmt: skip
#: The content of a file, and what it is called.
FOREIGN = {
    "perf.data": (b"PERFILE2" + bytes(96), "a perf.data of perf"),
    "gem5": (b"gem5\x21\n", "a packet trace of gem5"),
    "pin": (b"0x7f12a0001093: W 0x7ffe3c2f1e48\n", "a log of Pin's pinatrace"),
    "execlog": (b'0, 0xff, 0x48c7c0, "mov rax, 0"\n', "a log of QEMU's execlog"),
    "kvm_stat": (b"Event  Total %Total CurAvg/s\n", "a list of counters of kvm_stat"),
    "elf": (b"\x7fELF\2\1\1", "an ELF file"),
    "zip": (b"PK\3\4", "a zip archive"),
    "tar": (bytes(257) + b"ustar\0" + bytes(250), "a tar archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive"),
    "lz4": (b"\x04\x22\x4d\x18\x64\x40\xa7", "a file compressed by lz4"),
    "snappy": (b"\xff\x06\0\0sNaPpY", "a file compressed by snappy"),
    "lzma": (lzma.compress(b"x", format=lzma.FORMAT_ALONE), "a file compressed by lzma"),
    "pcap": (b"\xd4\xc3\xb2\xa1\2\0\4\0", "a capture of network packets (pcap)"),
    "qcow2": (b"QFI\xfb\0\0\0\3", "a disk image of QEMU (qcow2)"),
    "ctf": (b"\xc1\x1f\xfc\xc1\0\0", "a stream of LTTng (CTF)"),
    "kdump": (b"KDUMP   \6\0\0\0", "a dump of a kernel's memory (kdump)"),
    "newer": (
        b"\x19\0\0\0\x08" + bytes(7),
        "a memory trace of DynamoRIO (drmemtrace) of a version",
    ),
    "utf-16": ("# tracer: nop\n".encode("utf-16-le"), "a text in UTF-16"),
    "utf-16 be": ("# tracer: nop\n".encode("utf-16-be"), "a text in UTF-16, high bytes first"),
    "white": (b"\n \n\t\n", "a text of white space only"),
    "perf-stat.csv": (b"1234,,kvm:kvm_exit,1,100.00,,\n", "a list of counters of perf stat"),
    "perf-stat.json": (
        b'{"counter-value" : "1.000000", "event" : "kvm:kvm_exit"}\n',
        "a list of counters of perf stat",
    ),
    "kvm_stat -1": (b"kvm_exit      12    3\n", "a list of counters of kvm_stat"),
    "kvm_stat -c": (b"timestamp,kvm_exit,exits\n", "a list of counters of kvm_stat"),
    "html": (b"<!doctype html>\n", "an HTML page"),
    "json": (b'{"a": 1}', "JSON of an unknown kind"),
    "text": (b"hello\n", "a text of an unknown format"),
    "binary": (bytes(range(256)), "a file of an unknown format"),
    "diff": (b"diff --git a/x b/x\n", "a diff, without the mail it came in"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file of every kind there is, whatever it is called."""
    tmp_path = tmp_path_factory.mktemp("kinds")
    folder = tmp_path / "files"
    folder.mkdir()
    contents = {name: content for name, (content, _) in FOREIGN.items()}
    contents |= {
        "trace.txt": trace_bytes(),
        "vector.rft": VECTOR,
        "capture.mbox": capture(tmp_path).read_bytes(),
        "mail.rft": MAIL,
        "events.pdf": EVENTS,
        "script.mbox": PERF,
        "dr": made_streams.drmemtrace(*made_streams.many_references(9)),
        "champsim": CHAMPSIM,
        "lackey": made_streams.LACKEY.encode(),
        "cachelab": b"I  0401b770,1\n S 1fff000760,8\n",
        "result": json.dumps(make_result().to_dict()).encode(),
        "empty.rft": b"",
        "damaged.rft": trace_bytes().replace(b"\r\n", b"\n"),
    }
    for ending, pack in PACKERS.items():
        for name in ("trace.txt", "vector.rft", "capture.mbox", "text"):
            contents[f"{name}.{ending}"] = pack(contents[name])
    contents["cut.gz"] = gzip.compress(b"x")[:5]
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "golden").mkdir()
    (folder / "golden" / "MANIFEST.json").write_text("{}")
    (folder / "link").symlink_to(folder / "nowhere")
    (folder / "loop").symlink_to(folder / "loop")
    return [
        *sorted(folder.iterdir()),
        folder / "missing.rft",
        folder / "missing",
        Path("/dev/null"),
    ]


@pytest.fixture(scope="module")
def tried():
    """What each command that was suggested came to."""
    return {}


#: What comes before a file and after it; each refuses some kinds before it looks for the service.
VERBS = {
    "patches read": ((), ()),
    "replay": ((), ("-v", "base")),
    "import": ((), ("--ram-mib", "16", "--out", "out")),
    "push": ((), ()),
    "golden": ((), ()),
    "compare": ((), ()),
    "report": ((), ()),
    "watch": ((), ()),
    "repro": ((), ()),
    "repro --trace": (("b-1/x/1", "--trace"), ()),
    "submit": ((), ("-p", "base")),
    "traces show": ((), ()),
    "batches show": ((), ()),
    "batches cancel": ((), ()),
}
_SUGGESTED = re.compile(r"`refault ([^`]*)`")


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_file_is_and_which_verb_reads_it_is_said_by_every_verb(
    verb, files, tried, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    given = {"REFAULT_URL": "http://127.0.0.1:1", "REFAULT_INTERPRETED": "1"}
    before, after = VERBS[verb]

    def run(*arguments):
        return run_here(monkeypatch, tmp_path, *arguments, **given)

    for file in files:
        answer = run(*verb.split(" --")[0].split(), *before, file, *after)
        where = (verb, file.name, answer.stderr)
        assert answer.returncode in {0, 1, 2, 3}, where
        if answer.returncode in {0, 1}:
            continue
        if answer.returncode == 3:
            # It was no file of this machine to be refused, so the service was asked.
            assert verb in READS[look(file).kind], where
            continue
        assert answer.stdout == "", where
        assert answer.stderr.startswith("refault: "), where
        assert answer.stderr.count("\n") == 1, where
        assert str(file) in answer.stderr, where
        for suggestion in _SUGGESTED.findall(answer.stderr):
            words = shlex.split(suggestion.replace("MIB", "16"))
            assert words[0] != verb.split()[0], where
            if words[:2] == ["patches", "read"]:
                continue
            if suggestion not in tried:
                tried[suggestion] = run(*words)
            assert tried[suggestion].returncode != ExitCode.BAD_INPUT, (where, tried[suggestion])


READS = {
    Kind.TRACE: {"push", "submit", "traces show", "repro --trace"},
    Kind.MISSING: {"compare", "report", "watch", "repro", "batches show", "batches cancel"},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_format_is_called_by_its_name(tmp_path, name):
    content, title = FOREIGN[name]
    (tmp_path / "x").write_bytes(content)
    (tmp_path / "x.gz").write_bytes(gzip.compress(content))

    assert look(tmp_path / "x").refusal().startswith(f"{tmp_path}/x: byte 0: this is {title}")
    packed = look(tmp_path / "x.gz").refusal()
    assert f"this is {title}" in packed
    assert ", compressed by gzip; " in packed


@pytest.mark.parametrize("ending", ["", *PACKERS])
def test_a_vector_is_imported_whatever_it_is_called_and_compressed_by(
    monkeypatch, tmp_path, ending
):
    pack = PACKERS.get(ending, bytes)
    file = tmp_path / "no.rft"
    file.write_bytes(pack(VECTOR[:11]) + pack(VECTOR[11:]))

    answer = run_here(monkeypatch, tmp_path, "import", file, "--out", tmp_path / "out")

    assert answer.returncode == 0, answer.stderr
    with TraceReader(tmp_path / "out" / "no.rft.rft") as reader:
        assert [kind for block in reader.blocks() for kind in block.kind] != []


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("harm", ["cut", "flipped"])
def test_damaged_compression_is_named_and_leaves_nothing(monkeypatch, tmp_path, ending, harm):
    lines = VECTOR + b"".join(b'["ld",0,%d,0]\n' % (n * n * 4096) for n in range(40_000))
    data = bytearray(PACKERS[ending](lines))
    if harm == "cut":
        del data[-9:]
    else:
        data[-20] ^= 0xFF
    file = tmp_path / f"v.ops.jsonl.{ending}"
    file.write_bytes(data)

    answer = run_here(monkeypatch, tmp_path, "import", file, "--out", tmp_path / "out")

    assert answer.returncode == ExitCode.BAD_INPUT
    assert answer.stderr.count("\n") == 1
    assert "v.ops.jsonl" in answer.stderr
    assert list((tmp_path / "out").iterdir()) == []


def imported_by(folder, data, *arguments):
    return subprocess.run(
        command("import", "-", "--out", folder, *arguments),
        env=environment(folder), input=data, capture_output=True, check=False,
    )  # fmt: skip


def test_standard_input_is_imported_by_a_dash(tmp_path):
    answer = imported_by(tmp_path, gzip.compress(VECTOR), "--name", "piped")

    assert (answer.returncode, answer.stderr) == (0, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["piped.rft"]


def test_standard_input_of_another_format_is_called_by_its_name(tmp_path):
    answer = imported_by(tmp_path, MAIL)

    assert answer.returncode == ExitCode.BAD_INPUT
    assert answer.stderr.startswith(b"refault: standard input: byte 0: this is a mail")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_file_among_good_ones_is_refused_before_any_is_turned(monkeypatch, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(VECTOR)
    (tmp_path / "b.jsonl").write_bytes(MAIL)

    answer = run_here(
        monkeypatch, tmp_path, "import", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--out",
        tmp_path / "out",
    )  # fmt: skip

    assert answer.returncode == ExitCode.BAD_INPUT
    assert list((tmp_path / "out").iterdir()) == []
