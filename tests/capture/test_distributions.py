import pytest

from refault.capture.distributions import how_to_install, read_os_release

DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
MINT = 'ID=linuxmint\nID_LIKE=\'ubuntu debian\'\nVERSION_ID="22"\n# a comment=1\nBROKEN="x\n'


def release(text, tmp_path):
    path = tmp_path / "os-release"
    path.write_text(text)
    return read_os_release(path)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (DEBIAN_12, "apt-get install -t bookworm-backports qemu-system-x86"),
        ('ID=debian\nVERSION_ID="13"\n', "apt-get install qemu-system-x86"),
        ("ID=debian\nVERSION_ID=11\n", "use Debian 12 or newer"),
        ("ID=debian\n", "apt-get install qemu-system-x86"),  # testing has no number
        ('ID=ubuntu\nVERSION_ID="24.04"\n', "from 25.10 on"),
        ('ID=ubuntu\nVERSION_ID="26.04"\n', "apt-get install qemu-system-x86"),
        ("ID=fedora\nVERSION_ID=41\n", "from 42 on"),
        ("ID=fedora\nVERSION_ID=43\n", "dnf install qemu-system-x86-core"),
        (MINT, "apt-get install qemu-system-x86"),
        ("ID=arch\n", "install QEMU 9.2 or newer"),
        ("", "install QEMU 9.2 or newer"),
    ],
)
def test_the_advice_is_this_distributions_own(text, advice, tmp_path):
    assert advice in how_to_install("qemu", release(text, tmp_path))


@pytest.mark.parametrize("what", ["compiler", "busybox", "kernel"])
def test_every_part_has_advice_everywhere(what, tmp_path):
    for text in (DEBIAN_12, MINT, "ID=fedora\n", "ID=arch\n"):
        assert how_to_install(what, release(text, tmp_path))


def test_no_os_release_is_no_error(tmp_path):
    assert read_os_release(tmp_path / "none") == {}
