import pytest

from refault.capture.kernels import find_kernel, read_kernel
from refault.errors import CaptureError


def image(path, *, release=b"6.1.0-50-amd64 (build@host) #1 SMP", protocol=0x20F, flags=1):
    data = bytearray(0x1000)
    data[0x1FE:0x200] = b"\x55\xaa"
    data[0x202:0x206] = b"HdrS"
    data[0x206:0x208] = protocol.to_bytes(2, "little")
    data[0x20E:0x210] = (0x600).to_bytes(2, "little")
    data[0x236:0x238] = flags.to_bytes(2, "little")
    data[0x800 : 0x800 + len(release)] = release
    path.write_bytes(data)
    return path


def test_a_kernel_says_its_release_and_its_bits(tmp_path):
    kernel = read_kernel(image(tmp_path / "vmlinuz"))
    assert (kernel.release, kernel.bits) == ("6.1.0-50-amd64", 64)
    assert len(kernel.sha256) == 64
    assert read_kernel(image(tmp_path / "old", protocol=0x20A)).bits == 32
    assert read_kernel(image(tmp_path / "pae", flags=0)).bits == 32


def test_a_release_with_control_characters_is_shown_as_text(tmp_path):
    assert read_kernel(image(tmp_path / "k", release=b"6.1\x1b[31m")).release == "6.1\\x1b[31m"


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\x7fELF" + bytes(5000)])
def test_what_is_no_kernel_is_refused_by_name(tmp_path, content):
    path = tmp_path / "vmlinuz"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=r"vmlinuz is no bzImage of an x86 kernel"):
        read_kernel(path)


def test_a_missing_kernel_is_told_to_be_missing(tmp_path):
    with pytest.raises(CaptureError, match=r"none cannot be read: No such file.*--kernel"):
        read_kernel(tmp_path / "none")


def test_the_running_kernel_comes_before_newer_ones_and_those_by_number(tmp_path):
    for release in ("6.1.0-9-amd64", "6.1.0-50-amd64", "6.1.0-7-amd64"):
        image(tmp_path / f"vmlinuz-{release}")
    assert find_kernel(tmp_path, "6.1.0-7-amd64").name == "vmlinuz-6.1.0-7-amd64"
    assert find_kernel(tmp_path, "5.0").name == "vmlinuz-6.1.0-50-amd64"


def test_no_kernel_at_all_names_the_remedy(tmp_path):
    with pytest.raises(CaptureError, match=r"no kernel in .*--kernel"):
        find_kernel(tmp_path, "0.0-none")
