import platform
import struct
import subprocess

import pytest

from refault.capture import marker


@pytest.mark.parametrize("bits", [64, 32])
def test_it_has_one_nop_for_each_number_that_the_plugin_knows(bits):
    data = marker(bits)
    for number in range(256):
        nop = b"\x0f\x1f\x84\x00" + struct.pack("<H", number) + b"RT"
        assert data.count(nop) == 1


@pytest.mark.parametrize("bits", [64, 32])
def test_each_slot_jumps_back_to_the_way_out(bits):
    data = marker(bits)
    finish = data.index(b"\x31\xff\xb8\x3c" if bits == 64 else b"\x31\xdb\xb8\x01")
    for number in range(256):
        at = data.index(b"\x0f\x1f\x84\x00" + struct.pack("<H", number) + b"RT") + 8
        assert data[at] == 0xE9
        assert at + 5 + struct.unpack_from("<i", data, at + 1)[0] == finish


@pytest.mark.parametrize("bits", [64, 32])
def test_it_is_an_elf_file_that_maps_itself_without_writable_code(bits):
    data = marker(bits)
    assert data[:5] == b"\x7fELF" + bytes([bits // 32])
    flags = struct.unpack_from("<I", data, 64 + 4 if bits == 64 else 52 + 24)[0]
    assert flags == 5  # readable and executable


@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 programs")
@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["0"], 0), (["1"], 0), (["255"], 0), (["256"], 2), ([], 2), (["1", "2"], 2)],
)
def test_it_runs_and_refuses_what_is_no_number(tmp_path, bits, arguments, status):
    path = tmp_path / "mark"
    path.write_bytes(marker(bits))
    path.chmod(0o755)
    try:
        done = subprocess.run([path, *arguments], check=False)
    except OSError:
        pytest.skip("this kernel runs no 32-bit programs")
    assert done.returncode == status
