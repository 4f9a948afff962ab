import io
import stat

import pytest

from refault.capture.archive import Entry, console, link, write_archive
from refault.errors import CaptureError


def unpacked(data):
    """The entries of a newc archive, read as the kernel's documentation says."""
    found, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i :][:8], 16) for i in range(13)]
        size, name_size = fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        at = (at + 110 + name_size + 3) & ~3
        content = data[at : at + size]
        at = (at + size + 3) & ~3
        if name == "TRAILER!!!":
            assert at == len(data)
            return found
        found[name] = (fields[1], content, (fields[9], fields[10]))


def archive(entries):
    file = io.BytesIO()
    size = write_archive(file, entries)
    assert size == len(file.getvalue())
    return unpacked(file.getvalue())


def test_what_goes_in_comes_out_with_the_folders_above_it(tmp_path):
    source = tmp_path / "program"
    source.write_bytes(b"\x7fELF" + b"x" * 4097)
    found = archive(
        {
            "/usr/bin/program": Entry(source),
            "/init": Entry(b"#!/bin/sh\n"),
            "/bin/sh": link("busybox"),
            "/dev/console": console(),
        }
    )
    assert list(found) == [
        "bin", "bin/sh", "dev", "dev/console", "init", "usr", "usr/bin", "usr/bin/program",
    ]  # fmt: skip
    assert found["usr/bin/program"][1] == source.read_bytes()
    assert stat.S_ISDIR(found["usr/bin"][0])
    assert stat.S_ISLNK(found["bin/sh"][0])
    assert found["bin/sh"][1] == b"busybox"
    assert stat.S_ISCHR(found["dev/console"][0])
    assert found["dev/console"][2] == (5, 1)
    assert found["init"][0] & 0o777 == 0o755


@pytest.mark.parametrize("size", range(9))
def test_names_and_contents_of_every_length_are_padded(size):
    name = "/" + "n" * (size + 1)
    assert archive({name: Entry(b"c" * size)})[name[1:]][1] == b"c" * size


def test_equal_files_make_equal_archives(tmp_path):
    entries = {"/b": Entry(b"1"), "/a": Entry(b"2")}
    files = [io.BytesIO(), io.BytesIO()]
    write_archive(files[0], entries)
    write_archive(files[1], dict(reversed(entries.items())))
    assert files[0].getvalue() == files[1].getvalue()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(CaptureError, match=r"nowhere cannot be packed for the guest: No such file"):
        archive({"/a": Entry(tmp_path / "nowhere")})
