"""Packed trees over tus: what is kept, and what of strangers is refused."""

import lzma
import tarfile

import pytest
import sqlalchemy as sa

from db import backup, verify
from db.blobs import FolderStore
from db.models import Tree
from db.session import create_engine, transaction
from refault.linux.packed import PACKED_BYTES_MAX
from services.api import housekeeping
from tests.api.test_resumable import PART, TUS, UPLOADS, begin, metadata, offset_of, send
from tests.fixtures.api import in_process, trace_bytes
from tests.fixtures.kernels import MAKEFILE, MMU, TREE, bomb, head, member, pack, sha256
from tests.fixtures.trees import packed

pytestmark = pytest.mark.anyio

GOOD = pack()


async def send_tree(http, data=GOOD, *, checked=True, **said):
    """Upload a packed tree at once; its digest, or the answer."""
    headers = PART | {
        "upload-length": str(len(data)),
        "upload-metadata": metadata(content="tree", **said),
    }
    answer = await http.post(UPLOADS, headers=headers, content=data)
    if not checked:
        return answer
    assert answer.status_code == 201, answer.text
    return answer.headers["refault-tree"]


async def test_a_tree_is_kept_under_its_digest(http, rows):
    answer = await send_tree(http, sha256=sha256(GOOD), checked=False)

    assert answer.status_code == 201
    assert answer.headers["refault-tree"] == sha256(GOOD)
    assert "refault-trace" not in answer.headers
    (file,) = rows.files()
    assert file.read_bytes() == GOOD
    found = (await http.get(answer.headers["location"])).json()
    assert (found["state"], found["tree"], found["trace_id"]) == ("done", sha256(GOOD), None)
    with transaction(rows.engine) as opened:
        row = opened.scalars(sa.select(Tree)).one()
        assert (row.release, row.size_bytes, row.file_count) == ("6.12.43", len(GOOD), 2)
        assert row.token_id is not None
    # No trace, and no file that anybody can get.
    assert (await http.get("/api/v1/traces")).json()["items"] == []
    assert (await http.get(f"/api/v1/blobs/{sha256(GOOD)}")).status_code == 404


async def test_a_tree_comes_in_parts_as_a_trace_does(http, rows):
    place = await begin(http, GOOD, upload_metadata=metadata(content="tree"))
    middle = len(GOOD) // 2
    first = await send(http, place, 0, GOOD[:middle])
    assert (first.status_code, await offset_of(http, place)) == (204, middle)
    assert (await send(http, place, 0, GOOD[:middle])).status_code == 409
    assert (await http.get(place)).json()["tree"] is None
    last = await send(http, place, middle, GOOD[middle:])
    assert (last.status_code, last.headers["refault-tree"]) == (204, sha256(GOOD))
    asked = await http.head(place, headers=TUS)
    assert asked.headers["refault-tree"] == sha256(GOOD)


async def test_a_damaged_part_is_dropped_and_sent_again(http):
    place = await begin(http, GOOD, upload_metadata=metadata(content="tree"))
    said = {"upload_checksum": "sha1 AAAA"}
    assert (await send(http, place, 0, GOOD, **said)).status_code == 460
    assert (await send(http, place, 0, GOOD)).headers["refault-tree"] == sha256(GOOD)


async def test_the_same_tree_again_is_one(http, rows):
    assert await send_tree(http) == await send_tree(http)
    assert len(rows.files()) == 1
    with transaction(rows.engine) as opened:
        assert len(opened.scalars(sa.select(Tree)).all()) == 1


async def test_a_pack_of_a_real_tree_is_taken_in_parts(http):
    data = packed("6.12").read_bytes()
    place = await begin(http, data, upload_metadata=metadata(content="tree", sha256=sha256(data)))
    for offset in range(0, len(data), 500_000):
        last = await send(http, place, offset, data[offset : offset + 500_000])
        assert last.status_code == 204, last.text
    made = await http.post(
        "/api/v1/kernels", params={"name": "real", "tree": last.headers["refault-tree"]}
    )
    assert made.json()["release"].startswith("6.12.")


BAD_TREES = {
    "nothing": (b"", "no .tar.xz"),
    "a trace": (trace_bytes(), "no .tar.xz"),
    "truncated": (GOOD[:-20], "no .tar.xz"),
    "half": (GOOD[: len(GOOD) // 2], "no .tar.xz"),
    "longer than it is": (GOOD + b"\0" * 8, "bytes follow"),
    "a bit flipped": (GOOD[:40] + bytes([GOOD[40] ^ 1]) + GOOD[41:], "no .tar.xz"),
    "a bomb": (bomb(80 << 20), "64 MiB"),
    "a bomb of many files": (
        pack(TREE | {f"linux/include/{number}.h": b"" for number in range(8200)}),
        "8192 files",
    ),
    "a symbolic link": (
        pack(TREE, member("linux/include/x.h", tarfile.SYMTYPE, "/etc/passwd")),
        "no plain file",
    ),
    "a hard link": (
        pack(TREE, member("linux/include/x.h", tarfile.LNKTYPE, "linux/Makefile")),
        "no plain file",
    ),
    "a device": (pack(TREE, member("linux/include/x.h", tarfile.CHRTYPE)), "no plain file"),
    "a way out": (pack(TREE | {"linux/arch/x86/../../../../x.h": b""}), "no plain file"),
    "an absolute name": (pack(TREE | {"/linux/include/x.h": b""}), "no plain file"),
    "two directories": (pack(TREE | {"other/include/x.h": b""}), "two directories"),
    "what no build reads": (pack(TREE | {"linux/drivers/x.c": b""}), "nothing that a build reads"),
    "an unprintable name": (pack(TREE | {"linux/include/\x1b[31m.h": b""}), "no plain file"),
    # tarfile goes back, searches in quadratic time, or calls itself once for each of these.
    "a negative size": (lzma.compress(head(-1024) + bytes(4096)), "headers"),
    "a long extended header": (
        lzma.compress(head(1 << 20, tarfile.XHDTYPE) + b"1" * (1 << 20) + bytes(1024)),
        "headers",
    ),
    "a chain of long names": (
        lzma.compress(
            b"".join(
                head(14, tarfile.GNUTYPE_LONGNAME) + b"linux/Makefile".ljust(512, b"\0")
                for _ in range(3000)
            )
        ),
        "headers",
    ),
    "a sparse file": (
        lzma.compress(head(512, tarfile.GNUTYPE_SPARSE) + bytes(4096)),
        "no plain file",
    ),
    "a sparse file without its map": (
        pack(
            {},
            member("linux/Makefile", tarfile.REGTYPE),
            pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        ),
        "no .tar.xz",
    ),
    "no Makefile": (pack({"linux/arch/x86/kvm/mmu/mmu.c": MMU}), "no Makefile"),
    "no MMU": (pack({"linux/Makefile": MAKEFILE}), "no arch/x86/kvm/mmu/mmu.c"),
    "no release": (pack(TREE | {"linux/Makefile": b"all:\n"}), "which release"),
}


@pytest.mark.parametrize("kind", BAD_TREES)
async def test_what_is_no_tree_is_refused_with_the_reason_and_nothing_is_kept(http, rows, kind):
    data, words = BAD_TREES[kind]
    place = await begin(http, data, upload_metadata=metadata(content="tree")) if data else None
    if place is None:
        answer = await send_tree(http, data, checked=False)
    else:
        answer = await send(http, place, 0, data)

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/not-a-tree"), answer.text
    assert words in answer.json()["detail"]
    assert rows.files() == []
    with transaction(rows.engine) as opened:
        assert opened.scalars(sa.select(Tree)).all() == []
    if place is not None:
        found = (await http.get(place)).json()
        assert (found["state"], words in found["error"]) == ("refused", True)
        assert (await send(http, place, 0, data)).status_code == 410


async def test_other_bytes_than_announced_are_refused(http, rows):
    answer = await send_tree(http, sha256=sha256(b"another"), checked=False)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/digest-mismatch")
    assert rows.files() == []


async def test_a_large_archive_is_refused_before_its_first_byte(http):
    headers = TUS | {
        "upload-length": str(PACKED_BYTES_MAX + 1),
        "upload-metadata": metadata(content="tree"),
    }
    answer = await http.post(UPLOADS, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/upload-too-large")


async def test_more_bytes_than_announced_are_refused(http):
    place = await begin(http, GOOD, upload_metadata=metadata(content="tree"))
    assert (await send(http, place, 0, GOOD + b"x")).status_code == 413


async def test_trees_count_against_the_projects_bytes(site, rows):
    project = rows.add_project("small", quota_bytes=len(GOOD) + 100, quota_traces=1)
    async with in_process(site, rows.mint_token(project=project)) as http:
        assert await send_tree(http) == sha256(GOOD)
        # One that is there already takes no room.
        assert await send_tree(http, sha256=sha256(GOOD)) == sha256(GOOD)
        more = pack(TREE | {"linux/include/x.h": b"#\n"})
        refused = await send_tree(http, more, checked=False)
        trace = await http.post("/api/v1/traces", content=trace_bytes())
        assert [refused.status_code, trace.status_code] == [507, 507]


async def test_an_upload_token_alone_brings_no_tree_and_goes_on_with_none(site, http, rows):
    place = await begin(http, GOOD, upload_metadata=metadata(content="tree"))
    for scopes in (["upload"], ["read", "upload", "submit"], ["upload", "admin"]):
        async with in_process(site, rows.mint_token(scopes)) as caller:
            refused = await send_tree(caller, checked=False)
            assert (refused.status_code, "'build'" in refused.text) == (403, True)
            on_it = await send(caller, place, 0, GOOD)
            assert (on_it.status_code, "build" in on_it.text) == (403, True)
    async with in_process(site, rows.mint_token(["upload", "build"])) as caller:
        assert await send_tree(caller) == sha256(GOOD)
        # It was begun by another one.
        assert (await send(caller, place, 0, GOOD)).status_code == 403
    assert rows.files()
    assert (await http.delete(place, headers=TUS)).status_code == 204


async def test_any_other_content_is_a_trace_as_before(http):
    data = trace_bytes()
    headers = PART | {
        "upload-length": str(len(data)),
        "upload-metadata": metadata(content="application/octet-stream"),
    }
    assert "refault-trace" in (await http.post(UPLOADS, headers=headers, content=data)).headers


async def test_a_trees_upload_that_expired_is_swept_with_its_bytes(site, http, rows):
    await begin(http, GOOD, upload_metadata=metadata(content="tree"))
    await send_tree(http)
    with transaction(rows.engine) as opened:
        opened.execute(sa.text("UPDATE uploads SET expires_at = now() - interval '1 h'"))
    housekeeping.tidy_up(site.api.state.resources)
    # The tree stays: it is younger than an upload lives.
    assert [file.read_bytes() for file in rows.files()] == [GOOD]


def quietly(*_):
    pass


async def test_a_backup_has_trees_and_programs_and_verify_misses_them(
    site, http, rows, builder, tmp_path, empty_database_url
):
    tree = await send_tree(http)
    made = await http.post("/api/v1/kernels", params={"name": "mine", "tree": tree})
    assert made.status_code == 201, made.text
    program = builder.finish("mine", [])
    blobs = site.api.state.resources.blobs

    manifest = backup.write(rows.engine, blobs, tmp_path / "backup")
    assert set(manifest.blobs) == {tree, program}
    engine, second = create_engine(empty_database_url), FolderStore(tmp_path / "second")
    backup.restore(engine, second, tmp_path / "backup")
    assert second.fetch(tree).read_bytes() == GOOD
    assert second.exists(program)
    assert list(verify.live(engine, second, quietly)) == []
    engine.dispose()
    assert list(verify.live(rows.engine, blobs, quietly)) == []

    blobs.delete(tree)
    blobs.delete(program)
    found = list(verify.live(rows.engine, blobs, quietly))
    assert len(found) == 2
    assert any("tree of Linux 6.12.43" in line and "has no blob" in line for line in found)
    assert any("program" in line and "has no blob" in line for line in found)
