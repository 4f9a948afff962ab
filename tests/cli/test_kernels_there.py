"""``refault kernel push`` and ``refault submit --kernel``: a kernel built by the service."""

import gzip
import io
import json
import tarfile
from functools import partial

import httpx
import pytest

import refault.client
from refault.cli.mail_files import as_one
from refault.client import connection
from refault.linux import patches
from tests.cli.running import run_here
from tests.client.kernel_service import KernelService, answer, build, kernel, problem
from tests.fixtures import trees

MAKEFILE = b"VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 117\nEXTRAVERSION =\n"
MAIL = """From 1111111111111111111111111111111111111111 Mon Sep 17 00:00:00 2001
From: A. Author <a@example.org>
Subject: [PATCH {number}/2] KVM: x86/mmu: change {number}

---
diff --git a/arch/x86/kvm/mmu/mmu.c b/arch/x86/kvm/mmu/mmu.c
--- a/arch/x86/kvm/mmu/mmu.c
+++ b/arch/x86/kvm/mmu/mmu.c
@@ -1,1 +1,1 @@
-int before{number};
+int after{number}; /* é */
"""


NEW_FILE = """From 1111111111111111111111111111111111111111 Mon Sep 17 00:00:00 2001
From: A. Author <a@example.org>
Subject: [PATCH 1/2] KVM: x86/mmu: a file more

---
diff --git a/arch/x86/kvm/mmu/more.c b/arch/x86/kvm/mmu/more.c
new file mode 100644
--- /dev/null
+++ b/arch/x86/kvm/mmu/more.c
@@ -0,0 +1 @@
+int more;
"""


class Service(KernelService):
    """The rest of what a batch on a kernel needs."""

    def __init__(self, steps=(), **limits):
        super().__init__(steps)
        self.limits = {"builds": True, "builders": 1} | limits
        self.scopes = ["read", "submit", "build"]
        self.sets = []
        self.batches = []

    def __call__(self, request):  # noqa: PLR0911 - one a route
        method, path = request.method, request.url.path.removeprefix("/api/v1")
        match method, path.strip("/").split("/"):
            case "GET", ["limits"]:
                return answer(self.limits)
            case "GET", ["me"]:
                return answer(me(self.scopes))
            case "GET", ["traces", *_]:
                return answer({"items": [trace()], "next_cursor": None})
            case "POST", ["patch_sets"]:
                self.sets.append(json.loads(request.read()))
                return answer(patch_set(self.sets[-1], len(self.sets)), 201)
            case "POST", ["batches"]:
                self.batches.append(json.loads(request.read()))
                return answer(batch(self.batches[-1]), 201)
            case "GET", ["kernels", name] if name != "mine":
                return problem(404, f"no kernel {name}")
        return super().__call__(request)


def me(scopes):
    return dict.fromkeys(
        ("user", "project", "role", "batch", "form_key")
    ) | {"id": "i", "kind": "token", "name": "n", "is_admin": False, "scopes": scopes,
         "projects": []}  # fmt: skip


def trace():
    words = ("id", "digest", "name", "content", "guest_mode", "note", "created_at", "updated_at")
    counts = ("vcpu_count", "size_bytes", "event_count", "instruction_count")
    return (
        dict.fromkeys(words, "boot")
        | dict.fromkeys(counts, 1)
        | {"events_by_kind": {}, "truncated": False, "tags": [], "guest": {}, "statistics": {}}
    )


def patch_set(body, number):
    variant = dict.fromkeys(("digest", "name", "engine", "text"), "x") | {"golden_name": None}
    return body | {"id": f"set-{number}", "variant": variant, "created_at": "x"}


def batch(body):
    progress = dict.fromkeys(("total", "done", "cached", "failed", "cancelled", "finished"), 0)
    words = ("id", "state", "plan", "created_at", "simulator_digest")
    counts = ("priority", "integrity_alarms", "trace_count", "column_count", "patch_set_count")
    return dict.fromkeys(words, "queued") | dict.fromkeys(counts, 1) | {
        "code": "b-1", "recompute": False, "finished_at": None, "simulators": {},
        "is_stale": False, "traces": [], "patch_sets": [], "progress": progress,
        "links": {"page": "/batches/b-1"}, "asked": body,
    }  # fmt: skip


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "mine.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        for name, data in (("Makefile", MAKEFILE), ("arch/x86/kvm/mmu/mmu.c", b"int before1;\n")):
            entry = tarfile.TarInfo(f"linux-6.12.117/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.fixture
def mails(tmp_path):
    found = []
    for number in (1, 2):
        found.append(tmp_path / f"000{number}.patch")
        found[-1].write_text(MAIL.format(number=number))
    return found


@pytest.fixture
def ask(monkeypatch, tmp_path):
    def with_service(service, *arguments):
        client = partial(refault.client.Client, transport=httpx.MockTransport(service))
        with monkeypatch.context() as patch:
            patch.setattr(connection, "POLL_S", 0.0)
            patch.setattr(refault.client, "Client", client)
            return run_here(monkeypatch, tmp_path, *arguments, REFAULT_URL="http://lab")

    return with_service


BUILT = [build(()), build((1,)), build((1, 2))]


def test_a_kernel_is_pushed_and_awaited(ask, packed, mails):
    steps = [kernel([build((), "queued")]), kernel(BUILT)]
    service = Service(steps)

    told = ask(service, "kernel", "push", packed, "--name", "mine", "--mail", mails[0],
               "--mail", mails[1], "--wait")  # fmt: skip

    lines = told.stdout.splitlines()
    assert told.returncode == 0, told.stderr
    assert lines[0] == "kernel:mine: Linux 6.12.117, its tree uploaded"
    assert [line.split()[:2] for line in lines[2:5]] == [
        ["kernel:mine", "built"],
        ["kernel:mine+1", "built"],
        ["kernel:mine+1..2", "built"],
    ]
    assert "3 of 3 accesses as on the real guests" in lines[2]
    assert lines[-1] == "http://lab/kernels/mine"
    [made] = service.made
    sent = patches.read([made["mails"]])
    assert [patch.title for patch in sent] == [f"KVM: x86/mmu: change {n}" for n in (1, 2)]


def test_the_same_again_uploads_nothing_and_says_so_in_json(ask, packed):
    service = Service()

    ask(service, "kernel", "push", packed)
    again = ask(service, "kernel", "push", packed, "--json")

    assert [each["name"] for each in service.made] == ["linux-6.12.117"] * 2
    assert [path for _, path in service.seen].count("/uploads") == 2
    assert json.loads(again.stdout)["base"] == "kernel:mine"


def test_a_name_is_made_of_the_release_and_a_digest_of_the_series(ask, packed, mails):
    service = Service()

    both = ("--mail", mails[0], "--mail", mails[1])
    ask(service, "kernel", "push", packed, *both, "--sanitize")
    mails[1].write_text(mails[1].read_text().replace("after", "afterwards"))
    ask(service, "kernel", "push", packed, *both)

    names = [each["name"] for each in service.made]
    assert names[0].startswith("linux-6.12.117-")
    assert names[0].endswith("-asan")
    assert not names[1].startswith(names[0].removesuffix("-asan"))


def test_several_files_go_as_one_and_read_the_same(mails, tmp_path):
    packed_mail = tmp_path / "two.gz"
    packed_mail.write_bytes(gzip.compress(mails[1].read_bytes()))
    files = [mails[0].read_bytes(), packed_mail.read_bytes()]

    assert patches.read([as_one(files)]) == patches.read(files)


@pytest.mark.parametrize(
    ("limits", "scopes", "said"),
    [
        ({"builds": False}, ["build"], "its operator has to set REFAULT_BUILDS=true"),
        ({}, ["read", "submit"], "this token has not the scope 'build'"),
    ],
)
def test_what_the_service_would_refuse_is_refused_before_a_tree_is_packed(
    ask, tmp_path, limits, scopes, said
):
    service = Service(**limits)
    service.scopes = scopes

    told = ask(service, "kernel", "push", tmp_path)

    assert told.returncode == 4
    assert said in told.stderr
    assert service.made == []


def test_nobody_who_builds_is_said_and_waited_for(ask, packed):
    told = ask(Service(builders=0), "kernel", "push", packed)

    assert told.returncode == 0
    assert "no worker of the service builds kernels now" in told.stderr


def test_a_refused_patch_is_the_answer_no_with_file_and_hunk(ask, packed):
    refused = build((1, 2), "refused", refusal="does not apply at arch/x86/kvm/mmu/mmu.c:17")
    service = Service([kernel([build(()), build((1,)), refused])])

    told = ask(service, "kernel", "push", packed, "--wait")

    assert told.returncode == 1
    assert "mine+1..2: refused: does not apply at arch/x86/kvm/mmu/mmu.c:17" in told.stdout


def test_a_tree_and_its_series_become_a_batch(ask, packed, mails):
    service = Service([kernel(BUILT)])

    told = ask(service, "submit", "boot", "--kernel", packed, "--mail", mails[0],
               "--mail", mails[1], "--plan", "series", "-p", "base")  # fmt: skip

    assert told.returncode == 0, told.stderr
    assert service.made[0]["plan"] == "series"
    assert [(each["base"], each["patches"]) for each in service.sets] == [
        ("v2.6.34-pre", []),
        ("kernel:mine", ["1", "2"]),
    ]
    # The kernel as it is is what the others are compared with.
    assert service.batches[0]["patch_sets"] == ["set-2", "set-1"]
    assert service.batches[0]["plan"] == "series"
    assert told.stdout.splitlines()[0] == "kernel:mine: Linux 6.12.117, http://lab/kernels/mine"


def test_a_series_ends_before_the_patch_that_cannot_be_built(ask, packed):
    refused = build((1, 2), "refused", refusal="mmu.c:7: error: no member\nmore\n")
    alone = build((3,), "refused", refusal="not of this plan")
    service = Service([kernel([build(()), build((1,)), refused, build((1, 2, 3)), alone])])

    told = ask(service, "submit", "boot", "--kernel", packed, "--plan", "series")

    assert told.returncode == 0, told.stderr
    assert service.sets[0]["patches"] == ["1"]
    assert told.stderr == (
        "refault: left out: mine+1..2: mmu.c:7: error: no member\n  more\n"
        "refault: left out: mine+1..3: a shorter prefix of it was not built\n"
    )


def test_builds_that_one_patch_breaks_are_told_together(ask, packed):
    why = "does not apply at arch/x86/kvm/mmu/mmu.c:17"
    builds = [build(()), *(build((1, 2, 3)[:end], "refused", refusal=why) for end in (1, 2, 3))]
    service = Service([kernel(builds)])

    told = ask(service, "submit", "boot", "--kernel", packed, "--plan", "series")
    pushed = ask(Service([kernel(builds)]), "kernel", "push", packed, "--wait")

    assert told.stderr == f"refault: left out: mine+1, mine+1..2, mine+1..3: {why}\n"
    assert f"mine+1, mine+1..2, mine+1..3: refused: {why}\n" in pushed.stdout


def test_each_patch_alone_stands_beside_the_tree_as_it_is(ask):
    builds = [build(()), build((1,)), build((2,), "refused"), build((3,))]
    service = Service([kernel(builds)])

    told = ask(service, "submit", "boot", "--kernel", "kernel:mine", "--plan", "each")

    assert told.returncode == 0, told.stderr
    assert [each["patches"] for each in service.sets] == [[], ["1"], ["3"]]
    # All that the plan needs was asked for before.
    assert service.made == []


def test_what_a_plan_needs_of_a_kernel_that_is_there_is_built(ask):
    more = [*BUILT, build((2,))]
    service = Service([kernel(BUILT), kernel(BUILT), kernel(more)])

    told = ask(service, "submit", "boot", "--kernel", "mine", "--plan", "ablation", "--json")

    assert told.returncode == 0, told.stderr
    assert service.made == [{"plan": "ablation"}]
    assert service.sets[0]["patches"] == ["1", "2"]
    assert json.loads(told.stdout)["kernel"]["name"] == "mine"


def test_an_ablation_goes_on_with_what_could_be_built(ask):
    """The whole makes no kernel, so what is left stands beside the tree as it is."""
    broken = build((1, 2), "refused", refusal="mmu.c:7: error: no member")
    service = Service([kernel([build(()), broken, build((2,)), build((1,))])])

    told = ask(service, "submit", "boot", "--kernel", "mine", "--plan", "ablation")

    assert told.returncode == 0, told.stderr
    assert [each["patches"] for each in service.sets] == [[], ["2"], ["1"]]
    assert service.batches[0]["plan"] == "each"
    assert told.stderr == (
        "refault: left out: mine+1..2: mmu.c:7: error: no member\n"
        "refault: kernel:mine was not built with all patches: what was built without one of them "
        "is compared with the tree as it is\n"
    )


def test_an_ablation_of_nothing_that_was_built_is_refused(ask):
    builds = [build(()), build((1, 2), "refused"), build((2,), "refused"), build((1,), "refused")]

    told = ask(Service([kernel(builds)]), "submit", "boot", "--kernel", "mine",
               "--plan", "ablation")  # fmt: skip

    assert told.returncode == 2
    assert "neither with all of them nor with all but one" in told.stderr


def test_a_matrix_has_every_prefix_under_every_value(ask):
    service = Service([kernel(BUILT)])

    told = ask(service, "submit", "boot", "--kernel", "mine", "--plan", "matrix",
               "--axis", "tdp=0,1")  # fmt: skip

    assert told.returncode == 0, told.stderr
    assert [each["patches"] for each in service.sets] == [[], ["1"], ["1", "2"]]
    assert service.batches[0]["plan"] == "matrix"
    assert service.batches[0]["axes"] == {"tdp": [0, 1]}


def test_a_tree_that_cannot_be_built_is_no_batch(ask, packed):
    builds = [build((), "refused", refusal="0 of 3 accesses as on the real guests")]
    service = Service([kernel(builds)])

    told = ask(service, "submit", "boot", "--kernel", packed)

    assert told.returncode == 2
    assert "0 of 3 accesses as on the real guests" in told.stderr
    assert service.batches == []


def test_patches_of_a_kernel_are_named_by_number_too(ask):
    service = Service()

    told = ask(
        service, "submit", "boot", "-p", "kernel:mine+1..3", "-p", "kernel:mine+1+3,page-limit=64"
    )

    assert told.returncode == 0, told.stderr
    assert [(each["name"], each["base"], each["patches"]) for each in service.sets] == [
        ("kernel:mine+1..3", "kernel:mine", ["1", "2", "3"]),
        ("kernel:mine+1+3,page-limit=64", "kernel:mine", ["1", "3"]),
    ]
    assert service.sets[1]["parameters"]["page_limit"] == 64


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--kernel", "nothing.tar.xz"), "there is no such directory or file"),
        (("--kernel", "mine", "--sanitize"), "that never changes"),
        (("--mail", "x"), "are for --kernel"),
        (("--kernel", "other"), "neither a tree here nor a kernel of the service"),
        (("-p", "kernel:mine+x"), "named by number, such as kernel:mine+1..3"),
    ],
)
def test_what_cannot_be_is_one_line_and_its_exit_code(ask, arguments, said):
    told = ask(Service(), "submit", "boot", *arguments)

    assert told.returncode == 2
    assert said in told.stderr
    assert told.stdout == ""


def test_a_dry_run_of_a_tree_says_what_would_be_compiled_and_replayed(ask, tmp_path):
    service = Service()
    applies, fails = tmp_path / "1.patch", tmp_path / "2.patch"
    applies.write_text(NEW_FILE)
    fails.write_text(MAIL.format(number=2))

    told = ask(service, "submit", "boot", "--kernel", trees.packed("6.12"), "--plan", "each",
               "--mail", applies, "--mail", fails, "--dry-run", "--json")  # fmt: skip

    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert (found["builds"], found["cells"], found["events_to_replay"]) == (2, 2, 2)
    # Its own file, and nothing else.
    assert found["units"] == 2 * found["shared"] + 1
    assert found["compiled"] == found["shared"] + 1
    assert found["compile_seconds"] > 0
    assert list(found["refused"]) == ["linux-6.12.117+2"]
    assert "does not apply" in found["refused"]["linux-6.12.117+2"]
    assert (service.made, service.sets, service.batches) == ([], [], [])


def test_kernels_of_the_service_are_listed_shown_and_removed(ask):
    builds = [build((), log="CC arch/x86/kvm/mmu/mmu.o"), build((1,), "running", units_done=3)]
    builds[1]["units_total"] = 40
    service = Service([kernel(builds, state="running")])

    listed = ask(service, "kernel", "list", "--service").stdout.splitlines()
    as_json = json.loads(ask(service, "kernel", "list", "--url", "http://lab", "--json").stdout)
    shown = ask(service, "kernel", "show", "mine", "--service").stdout
    gone = ask(service, "kernel", "remove", "mine", "--service").stdout

    assert listed[1].split()[:4] == ["kernel:mine", "6.12.117", "1", "running"]
    assert as_json[0]["name"] == "mine"
    assert "running 3/40" in shown
    assert "CC arch/x86/kvm/mmu/mmu.o" in shown
    assert gone == "removed from the service: mine\n"
    assert service.seen[-1] == ("DELETE", "/kernels/mine")
