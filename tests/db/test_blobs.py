import contextlib
import hashlib
import os
import time
import uuid

import obstore
import pytest
from obstore.store import MemoryStore

from db.blobs import open_store
from db.blobs.bucket import BucketStore
from db.blobs.objects import Objects
from db.errors import BlobDamaged, UploadBusy, UploadGone
from refault.errors import NotFound, Unavailable
from tests.builders import put_blob

DATA = b"shadow" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["a folder", "an S3 server"])
def blobs(request, tmp_path):
    if request.param == "a folder":
        return open_store(tmp_path / "blobs")
    return request.getfixturevalue("bucket")


@pytest.fixture
def folder(tmp_path):
    return open_store(tmp_path / "blobs")


@pytest.fixture
def memory(tmp_path):
    objects = Objects(MemoryStore(), name="memory")
    return BucketStore(objects, tmp_path / "staging", fetched_bytes_max=10_000)


def local_files(blobs, tmp_path):
    return [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_blob_is_named_by_its_sha256_and_read_back(blobs):
    with blobs.receive() as incoming:
        incoming.write(DATA[:100])
        incoming.write(DATA[100:])
        incoming.keep(DIGEST)
    assert incoming.size_bytes == blobs.size_bytes(DIGEST) == len(DATA)
    assert blobs.fetch(DIGEST).read_bytes() == DATA


def test_all_blobs_are_listed_with_their_age_and_nothing_else_is(blobs):
    digests = {put_blob(blobs, data) for data in (b"one", b"two")}
    with blobs.receive() as incoming:
        incoming.write(DATA)
        kept = list(blobs.kept())
    assert {digest for digest, _ in kept} == digests
    assert all(-60 < age_seconds < 60 for _, age_seconds in kept)


def test_a_blob_of_many_parts_is_read_back(blobs):
    data = os.urandom(20 * 1024 * 1024 + 7)
    digest = put_blob(blobs, data)
    assert blobs.fetch(digest).read_bytes() == data


def test_an_upload_that_fails_leaves_no_file(blobs, tmp_path):
    def fail():
        raise ConnectionResetError

    with contextlib.suppress(ConnectionResetError), blobs.receive() as incoming:
        incoming.write(DATA)
        fail()
    assert local_files(blobs, tmp_path) == []


def test_an_upload_nobody_keeps_leaves_no_file(blobs, tmp_path):
    with blobs.receive() as incoming:
        incoming.write(DATA)
    assert local_files(blobs, tmp_path) == []
    assert not blobs.exists(DIGEST)


def test_a_blob_is_not_there_before_it_is_complete(blobs):
    with blobs.receive() as incoming:
        incoming.write(DATA)
        incoming.keep(DIGEST)
        assert not blobs.exists(DIGEST)
    assert blobs.exists(DIGEST)


def test_the_same_blob_twice_is_one_file(folder, tmp_path):
    assert put_blob(folder, DATA) == put_blob(folder, DATA)
    assert len(local_files(folder, tmp_path)) == 1


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64])
def test_a_name_that_is_no_blob_of_ours_is_not_found(blobs, name):
    assert not blobs.exists(name)
    assert blobs.delete(name) is False
    with pytest.raises(NotFound):
        blobs.fetch(name)


def test_a_deleted_blob_is_gone(blobs, tmp_path):
    put_blob(blobs, DATA)
    blobs.fetch(DIGEST)
    assert blobs.delete(DIGEST) is True
    assert local_files(blobs, tmp_path) == []
    with pytest.raises(NotFound):
        blobs.fetch(DIGEST)


def test_what_is_said_of_a_blob_names_no_place_of_the_server(folder, tmp_path):
    put_blob(folder, DATA)
    folder.path(DIGEST).write_bytes(b"S" + DATA[1:])
    with pytest.raises(BlobDamaged) as damaged:
        folder.fetch(DIGEST)
    folder.delete(DIGEST)
    with pytest.raises(NotFound) as missing:
        folder.fetch(DIGEST)
    assert str(tmp_path) not in f"{damaged.value} {missing.value}"


def test_a_flipped_bit_in_a_folder_is_refused_and_mended_by_the_next_upload(folder):
    put_blob(folder, DATA)
    folder.path(DIGEST).write_bytes(b"S" + DATA[1:])
    with pytest.raises(BlobDamaged, match=f"{DIGEST}.*is damaged"):
        folder.fetch(DIGEST)
    put_blob(folder, DATA)
    assert folder.fetch(DIGEST).read_bytes() == DATA


def test_a_flipped_bit_in_a_bucket_is_refused_and_no_copy_of_it_stays(memory, tmp_path):
    put_blob(memory, DATA)
    obstore.put(memory._objects._store, f"{DIGEST[:2]}/{DIGEST}", b"S" + DATA[1:])
    with pytest.raises(BlobDamaged, match="is damaged"):
        memory.fetch(DIGEST)
    assert local_files(memory, tmp_path) == []


def test_a_copy_that_went_bad_is_fetched_again(memory):
    put_blob(memory, DATA)
    memory.fetch(DIGEST).write_bytes(b"other")
    assert memory.fetch(DIGEST).read_bytes() == DATA


def test_copies_not_read_for_longest_make_room(memory, tmp_path):
    first, second, third = (put_blob(memory, bytes([number]) * 4000) for number in range(3))
    copies = [memory.fetch(first), memory.fetch(second)]
    for age, copy in enumerate(copies):
        os.utime(copy, (time.time() - 100 - age,) * 2)
    copies.append(memory.fetch(third))
    assert [copy.exists() for copy in copies] == [True, False, True]


def test_a_bucket_that_does_not_answer_is_unavailable_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    blobs = open_store("s3://refault/none", staging=tmp_path)
    with pytest.raises(Unavailable, match="s3://refault/none"):
        blobs.check()


def test_a_store_that_can_be_written_passes_its_check(blobs):
    blobs.check()


def test_uploads_of_dead_processes_are_swept_and_living_ones_stay(folder, tmp_path):
    with folder.receive() as incoming:
        incoming.write(DATA)
        old = tmp_path / "blobs" / "incoming" / "left-behind"
        old.write_bytes(DATA)
        os.utime(old, (time.time() - 90_000,) * 2)
        assert folder.sweep_incoming() == 1
        incoming.keep(DIGEST)
    assert len(local_files(folder, tmp_path)) == 1


def test_a_partial_file_is_cut_where_it_was_safe_and_goes_on_there(folder):
    upload = uuid.uuid4()
    folder.incoming.create_partial(upload)
    with folder.incoming.open_partial(upload) as partial:
        partial.write(DATA[:1000])
        partial.sync()
        partial.write(b"not safe")
    with folder.incoming.open_partial(upload) as partial:
        partial.cut(1000)
        partial.write(DATA[1000:])
        assert b"".join(partial.chunks(0, len(DATA), 999)) == DATA
        assert b"".join(partial.chunks(500, 1500, 7)) == DATA[500:1500]


def test_a_partial_file_has_one_writer(folder):
    upload = uuid.uuid4()
    folder.incoming.create_partial(upload)
    with (
        folder.incoming.open_partial(upload),
        pytest.raises(UploadBusy),
        folder.incoming.open_partial(upload),
    ):
        pass
    with folder.incoming.open_partial(upload):
        pass


def test_a_partial_file_that_lost_bytes_is_gone(folder):
    upload = uuid.uuid4()
    folder.incoming.create_partial(upload)
    with folder.incoming.open_partial(upload) as partial, pytest.raises(UploadGone, match="byte 0"):
        partial.cut(1)
    assert folder.incoming.partials() == [upload]
    assert folder.incoming.remove_partial(upload)
    with pytest.raises(UploadGone), folder.incoming.open_partial(upload):
        pass
