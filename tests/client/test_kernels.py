"""Kernels of people's own trees, asked for by both clients."""

import hashlib

import anyio
import httpx
import pytest

from refault.client import AsyncClient, Client, connection
from refault.errors import NotATree, Refused
from tests.client.kernel_service import KernelService, build, kernel

TREE = b"\xfd7zXZ\0 a packed tree"
DIGEST = hashlib.sha256(TREE).hexdigest()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(connection, "POLL_S", 0.0)


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "mine.tar.xz"
    path.write_bytes(TREE)
    return path


def client(service):
    return Client("http://x", token="t", transport=httpx.MockTransport(service))


def test_a_tree_the_service_lacks_is_uploaded_and_the_kernel_made_of_it(packed):
    service, sent = KernelService(), []

    with client(service) as http:
        pushed = http.push_kernel(
            packed,
            name="mine",
            mails=b"From x",
            sanitize=True,
            plan="ablation",
            version=2,
            progress=lambda *place: sent.append(place),
        )

    assert not pushed.was_present
    assert pushed.kernel["base"] == "kernel:mine"
    assert service.words == {"content": "tree", "sha256": DIGEST}
    assert service.made == [
        {
            "name": "mine",
            "tree": DIGEST,
            "sanitize": "true",
            "plan": "ablation",
            "version": "2",
            "mails": b"From x",
            "kind": "application/mbox",
        }
    ]
    assert sent[-1] == (len(TREE), len(TREE))


def test_a_tree_the_service_has_is_not_sent_again(packed):
    service = KernelService()
    service.trees.add(DIGEST)

    with client(service) as http:
        pushed = http.push_kernel(packed, name="mine")

    assert pushed.was_present
    assert service.seen == [("POST", "/kernels")]


def test_async_code_pushes_and_waits_too(packed):
    service = KernelService([kernel([build((), "queued")]), kernel([build(())])])

    async def push():
        transport = httpx.MockTransport(service)
        async with AsyncClient("http://x", transport=transport) as http:
            await http.push_kernel(packed, name="mine")
            return await http.wait_for_kernel("mine")

    assert anyio.run(push)["builds"][0]["state"] == "built"


def test_a_file_that_is_no_tree_is_refused_with_the_remedy(packed):
    packed.write_bytes(b"not packed")

    with client(KernelService()) as http, pytest.raises(Refused, match="refault kernel pack"):
        http.upload_tree(packed)


def test_a_tree_that_cannot_be_read_says_so(tmp_path):
    with (
        client(KernelService()) as http,
        pytest.raises(NotATree, match=r"mine\.tar\.xz: cannot be read: No such file"),
    ):
        http.push_kernel(tmp_path / "mine.tar.xz", name="mine")


def test_a_kernel_is_awaited_with_the_units_of_all_its_builds():
    first = build((), "running", units_done=10, units_total=50)
    steps = [
        kernel([build((), "queued"), build((1,), "queued")]),
        kernel([first, build((1,), "queued")]),
        kernel([build((), units_total=50), build((1,), "refused")]),
    ]
    seen = []

    with client(KernelService(steps)) as http:
        found = http.wait_for_kernel("mine", progress=lambda *place: seen.append(place))

    # What was not begun is taken to be as large as what was.
    assert seen == [(0, 40), (10, 100), (100, 100)]
    assert [entry["state"] for entry in found["builds"]] == ["built", "refused"]


def test_kernels_are_listed_read_built_further_and_deleted():
    service = KernelService([kernel([build(()), build((1,))])])

    with client(service) as http:
        assert [entry["name"] for entry in http.list_kernels()["items"]] == ["mine"]
        assert http.get_kernel("mine")["release"] == "6.12.117"
        assert http.get_kernel_patch("mine", 1) == "diff 1"
        http.request_builds("mine", patches=[(1,), (1, 3)])
        http.request_builds("mine", plan="ablation")
        http.delete_kernel("mine")

    assert service.made == [{"patches": [[1], [1, 3]]}, {"plan": "ablation"}]
    assert service.seen[-1] == ("DELETE", "/kernels/mine")


def test_a_kernel_of_another_shape_is_refused_with_the_place():
    service = KernelService([kernel([build((), units_done="many")])])

    with client(service) as http, pytest.raises(Refused, match="/builds/0/units_done is text"):
        http.get_kernel("mine")
