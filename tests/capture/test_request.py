import itertools
from pathlib import Path

import pytest

from refault.capture.qemu import Qemu
from refault.capture.request import Machine, command_line, disk_format
from refault.errors import CaptureError
from refault.trace import MemorySlot

QEMU = Qemu("/usr/bin/qemu-system-x86_64", "10.0", 4, Path("/cache,1/plugin.so"))
KERNEL = Path("/boot/vmlinuz")


def machine(**given):
    return Machine(**({"kernel": KERNEL, "initrd": None, "disk": None} | given))


def options(made):
    line = command_line(QEMU, made, out=5, report=7)
    return dict(itertools.pairwise(line)), line


def test_one_vcpu_is_one_thread_and_several_have_their_own():
    assert options(machine())[0]["-accel"] == "tcg,thread=single"
    assert options(machine(vcpus=2))[0]["-accel"] == "tcg,thread=multi"


def test_the_plugin_is_told_all_it_needs_and_commas_in_paths_are_doubled():
    plugin = options(machine(start="boot", refresh=9, events_max=3))[0]["-plugin"]
    assert plugin == (
        "/cache,,1/plugin.so,out=5,report=7,ram=268435456,low=268435456,start=boot,slots=16384,"
        "refresh=9,max=3"
    )


@pytest.mark.parametrize(
    ("mib", "low", "slots"),
    [
        (256, 256, 1),
        (3072, 3072, 1),
        (3583, 3583, 1),
        (3584, 3072, 2),
        (8192, 3072, 2),
    ],
)
def test_memory_is_split_where_qemus_pc_splits_it(mib, low, slots):
    made = machine(memory_mib=mib)
    assert made.low_bytes == low << 20
    found = made.memory_slots()
    assert len(found) == slots
    assert sum(slot.page_count for slot in found) == mib << 8
    if slots == 2:
        assert found[1] == MemorySlot(slot=1, base_gfn=1 << 20, page_count=(mib - low) << 8)


def test_a_disk_is_read_through_an_overlay_and_its_format_is_its_contents(tmp_path):
    disk = tmp_path / "a,b.img"
    disk.write_bytes(b"QFI\xfb" + bytes(100))
    drive = options(machine(kernel=None, disk=disk))[0]["-drive"]
    assert drive == f"file={tmp_path}/a,,b.img,format=qcow2,if=virtio,snapshot=on"
    disk.write_bytes(bytes(512))
    assert disk_format(disk) == "raw"


def test_a_guest_of_ones_own_has_no_network_and_no_screen():
    _, line = options(machine(initrd=Path("/i"), append="pti=on"))
    assert {"-nodefaults", "-no-reboot"} < set(line)
    assert line[line.index("-append") + 1].endswith("panic=-1 pti=on")
    assert "-initrd" in line


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"vcpus": 0}, "--vcpus 0"),
        ({"vcpus": 5}, "--vcpus 5"),
        ({"memory_mib": 8}, "--memory 8"),
        ({"memory_mib": 1 << 20}, "--memory 1048576"),
        ({"slots": 1000}, "--filter-slots 1000"),
    ],
)
def test_what_cannot_be_is_refused_by_the_options_name(given, told):
    with pytest.raises(CaptureError, match=told):
        machine(**given)
