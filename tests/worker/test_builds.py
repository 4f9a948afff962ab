"""Builds as work: a packed tree in the store of blobs, patches in rows, programs out."""

import io
import tarfile

import pytest
import sqlalchemy as sa

from db import builds
from db.models import KernelBuild, Placement, Program
from db.repositories import kernels, patch_sets, programs
from db.repositories.kernels import NewPatch
from db.shards import planning
from refault.catalogue import PatchSet
from refault.errors import Unavailable
from refault.linux import packed as packs
from refault.linux.patches import read
from refault.linux.store import Store
from tests.builders import put_blob, transaction
from tests.fixtures.trees import (
    at_the_end,
    packed,
    patient_with_writes,
    without_invalidation,
)
from worker import builds as building
from worker import shards
from worker.endings import Ending
from worker.sweep import sweep

RELEASE = "6.12"


@pytest.fixture
def kernel(room, patch_of, own_kernels, monkeypatch):
    """A kernel of a real tree: a harmless patch, one that saves, and one that is unsound."""
    monkeypatch.setenv("REFAULT_KERNELS", str(own_kernels))
    patches = patch_of(
        RELEASE,
        ("Say more", at_the_end("/* more */")),
        ("Be patient with writes", patient_with_writes),
        ("INVLPG has nothing to do", without_invalidation),
    )
    return Made(room, read(patches))


class Made:
    def __init__(self, room, patches):
        self.room = room
        self.engine = room.resources.engine
        self.patches = [
            NewPatch(each.title, "A Developer", each.files, each.diff) for each in patches
        ]

    def add(self, *, plan="series", patches=None, name="mine"):
        place = packed(RELEASE)
        told = packs.examine(place)
        digest = put_blob(self.room.blobs, place.read_bytes())
        with transaction(self.engine) as session:
            tree, _ = kernels.add_tree(
                session,
                digest=digest,
                release=told.release,
                size_bytes=place.stat().st_size,
                file_count=told.file_count,
            )
            chosen = self.patches if patches is None else patches
            kernels.add(session, name, tree, chosen, sanitize=False, plan=plan)

    def builds(self, name="mine"):
        with transaction(self.engine) as session:
            rows = kernels.get(session, name).builds
            return {tuple(row.patches): row for row in rows}


def test_a_series_becomes_programs_that_its_project_can_replay(kernel, resources, room):
    room.add_worker("builder", kernel=resources.simulators["kernel"])
    kernel.add()
    assert building.run(resources)
    found = kernel.builds()
    assert {row.state for row in found.values()} == {"done"}
    base = found[()]
    assert base.check_text == "2,936,808 of 2,936,808 accesses as on the real guests"
    assert "nobody defines" in base.log
    assert base.units_done == base.units_total > 0
    assert len({row.program_digest for row in found.values()}) == 4
    with transaction(kernel.engine) as session:
        assert programs.without_effect(list(found.values())) == {
            found[1,].id: True,
            found[1, 2].id: False,
            found[1, 2, 3].id: False,
        }
        wanted = PatchSet("kernel:mine", ("1", "2", "3"))
        row, _ = patch_sets.add(session, "mine", wanted)
        assert row.patches == ("1", "2", "3")
        planned = planning.write(
            session,
            planning.expand(
                traces=[room.trace],
                patch_sets=[row],
                plan="series",
                simulators=resources.simulators,
                make=programs.resolver(session),
            ),
        )
    assert not building.run(resources), "nothing is left to do"

    # Another worker, or this one after its disk was lost: the program comes from the blobs.
    for path in (Store().root / "builds").iterdir():
        (path / "kernel").unlink()
    while endings := shards.run(resources):
        assert set(endings) == {Ending.RECORDED}, [row.error for row in room.runs(planned.batch.id)]
    assert room.batch(planned.batch.id).state == "done"


def test_other_bytes_of_the_same_build_leave_no_file_behind(kernel, resources):
    """Two machines need not link the same; one program is kept."""
    kernel.add(patches=[])
    assert building.run(resources)
    (first,) = kernel.builds().values()
    program = Store().program(first.program_digest)
    other = program.with_name("other")
    other.write_bytes(program.read_bytes() + b"other")
    other.replace(program)
    kernel.add(patches=[], name="again")
    assert building.run(resources)
    (second,) = kernel.builds("again").values()
    assert (second.state, second.program_digest) == ("done", first.program_digest)
    tree_and_program = {digest for digest, _ in resources.blobs.kept()} - {kernel.room.digest}
    assert len(tree_and_program) == 2
    with transaction(kernel.engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Placement)) == 0


def test_patches_that_make_no_kernel_are_refused_and_the_others_built(kernel, resources):
    broken = NewPatch(
        "Does not compile",
        "A Developer",
        kernel.patches[0].files,
        kernel.patches[0].diff.replace("+/* more */", "+not C;"),
    )
    lost = NewPatch(
        "Fits nowhere",
        "A Developer",
        kernel.patches[1].files,
        kernel.patches[1].diff.replace("write_flooding_count", "write_lost_count"),
    )
    kernel.add(plan="each", patches=[broken, lost, kernel.patches[1]])
    assert building.run(resources)
    found = kernel.builds()
    assert {row.state for row in found.values()} == {"done"}
    assert "arch/x86/kvm/mmu/mmu.c" in found[1,].refusal
    assert "Fits nowhere" in found[2,].refusal
    assert "does not apply" in found[2,].refusal
    assert found[3,].program_digest
    assert found[()].program_digest
    assert "/" + "tmp" not in found[1,].refusal


def test_a_tree_that_cannot_be_built_refuses_all_with_the_reason(kernel, resources, tmp_path):
    place = tmp_path / "old.tar.xz"
    with tarfile.open(place, "w:xz") as archive:
        for name, text in (
            ("Makefile", "VERSION = 4\nPATCHLEVEL = 9\nSUBLEVEL = 1\n"),
            ("arch/x86/kvm/mmu/mmu.c", "int x;\n"),
        ):
            entry = tarfile.TarInfo(f"linux/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    digest = put_blob(kernel.room.blobs, place.read_bytes())
    with transaction(kernel.engine) as session:
        tree, _ = kernels.add_tree(
            session, digest=digest, release="4.9.1", size_bytes=9, file_count=2
        )
        kernels.add(session, "old", tree, kernel.patches[:1], sanitize=False, plan="series")
    assert building.run(resources)
    found = kernel.builds("old")
    assert found[()].refusal.startswith("the tree: Linux 4.9.1 has its shadow MMU in one file")
    assert found[1,].refusal.startswith("the tree as it is: the tree: Linux 4.9.1")


def test_a_build_that_is_lost_is_made_again_and_given_up_after_three(kernel, resources):
    kernel.add(patches=[])
    for attempt in (1, 2, 3):
        with transaction(kernel.engine) as session:
            claim = builds.claim(session, worker=resources.name, worker_pid=1, lease_seconds=60)
        (fence,) = claim.wanted
        assert fence.attempt == attempt
        building.process_died(resources, 1, "the process that built it died")
    (row,) = kernel.builds().values()
    assert (row.state, row.lost_count) == ("failed", 3)
    assert "died" in row.error
    assert row.log.count("attempt") == 3
    with transaction(kernel.engine) as session:
        kernels.request(session, kernels.get(session, "mine"), [()])
    assert kernel.builds()[()].state == "queued"


def test_a_worker_that_lost_its_build_writes_nothing(kernel, resources):
    kernel.add(patches=[])
    with transaction(kernel.engine) as session:
        claim = builds.claim(session, worker="slow", worker_pid=1, lease_seconds=60)
        (fence,) = claim.wanted
        session.execute(sa.update(KernelBuild).values(lease_until=sa.text("now() - interval '1s'")))
    sweep(resources, waiting_message_count=0)
    with transaction(kernel.engine) as session:
        assert not builds.finish(session, fence, log="", refusal="too late")
    (row,) = kernel.builds().values()
    assert (row.state, row.attempt, row.refusal) == ("queued", 2, None)


def test_a_kernel_that_is_deleted_while_it_is_built_leaves_nothing(kernel, resources, monkeypatch):
    kernel.add(patches=[])
    placed = building._placed

    def placed_and_deleted(*given):
        found = placed(*given)
        with transaction(kernel.engine) as session:
            kernels.delete(session, kernels.get(session, "mine"))
        return found

    monkeypatch.setattr(building, "_placed", placed_and_deleted)
    assert building.run(resources)
    with transaction(kernel.engine) as session:
        for model in (Program, Placement, KernelBuild):
            assert session.scalar(sa.select(sa.func.count()).select_from(model)) == 0
    assert len(list(resources.blobs.kept())) == 2, "the trace, and the tree, whose removal is asked"


def test_an_outage_of_the_blobs_counts_against_no_build(kernel, resources, monkeypatch):
    kernel.add(patches=[])
    monkeypatch.setattr("worker.claimed.OUTAGE_PAUSE_SECONDS", 0)

    def fetch(self, digest):
        raise Unavailable("the bucket does not answer")

    monkeypatch.setattr(type(resources.blobs), "fetch", fetch)
    assert building.take_turn(resources) == 0, "a failed attempt ends the turn"
    (row,) = kernel.builds().values()
    assert (row.state, row.attempt, row.lost_count) == ("queued", 2, 0)
    assert "the bucket does not answer" in row.log


def test_deleting_a_kernel_stops_its_builds_and_drops_its_programs(kernel, resources):
    kernel.add(patches=[])
    assert building.run(resources)
    with transaction(kernel.engine) as session:
        gone = kernels.delete(session, kernels.get(session, "mine"))
        assert len(gone) == 2
        assert session.scalar(sa.select(sa.func.count()).select_from(Program)) == 0
