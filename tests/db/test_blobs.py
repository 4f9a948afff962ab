import contextlib
import hashlib
import os
import time

import pytest

from db.blobs import BlobStore
from refault.errors import NotFound
from tests.builders import put_blob

DATA = b"shadow" * 1000


@pytest.fixture
def blobs(tmp_path):
    return BlobStore(tmp_path / "blobs")


def files(blobs):
    return [path for path in blobs.folder.rglob("*") if path.is_file()]


def test_a_blob_is_named_by_its_sha256_and_read_back(blobs):
    with blobs.receive() as incoming:
        incoming.write(DATA[:100])
        incoming.write(DATA[100:])
        incoming.keep()
    assert incoming.digest == hashlib.sha256(DATA).hexdigest()
    assert incoming.size_bytes == len(DATA)
    assert blobs.path(incoming.digest).read_bytes() == DATA


def test_an_upload_that_fails_leaves_no_file(blobs):
    def fail():
        raise ConnectionResetError

    with contextlib.suppress(ConnectionResetError), blobs.receive() as incoming:
        incoming.write(DATA)
        fail()
    assert files(blobs) == []


def test_an_upload_nobody_keeps_leaves_no_file(blobs):
    with blobs.receive() as incoming:
        incoming.write(DATA)
    assert files(blobs) == []
    assert not blobs.exists(incoming.digest)


def test_a_blob_is_not_there_before_it_is_complete(blobs):
    with blobs.receive() as incoming:
        incoming.write(DATA)
        incoming.keep()
        assert not blobs.exists(incoming.digest)
    assert blobs.exists(incoming.digest)


def test_the_same_blob_twice_is_one_file(blobs):
    assert put_blob(blobs, DATA) == put_blob(blobs, DATA)
    assert len(files(blobs)) == 1


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64])
def test_a_name_that_is_no_blob_of_ours_is_not_found(blobs, name):
    assert not blobs.exists(name)
    assert blobs.delete(name) is False
    with pytest.raises(NotFound):
        blobs.path(name)


def test_a_deleted_blob_is_gone(blobs):
    digest = put_blob(blobs, DATA)
    assert blobs.delete(digest) is True
    assert files(blobs) == []


def test_uploads_of_dead_processes_are_swept_and_living_ones_stay(blobs):
    with blobs.receive() as incoming:
        incoming.write(DATA)
        old = blobs.folder / "incoming" / "left-behind"
        old.write_bytes(DATA)
        os.utime(old, (time.time() - 90_000,) * 2)
        assert blobs.sweep_incoming() == 1
        incoming.keep()
    assert len(files(blobs)) == 1
