"""Kernels of users' own trees over HTTP: what a user does, and who may."""

import gzip
from functools import partial

import anyio
import pytest
import sqlalchemy as sa

from db import session
from db.models import FIRST_PROJECT, KernelBuild, Program, Tree
from db.repositories import kernels, simulators
from db.session import transaction
from refault.catalogue import Parameters
from refault.linux.variants import variant_of_build
from services.api import admin, housekeeping
from tests.api.test_resumable import service
from tests.api.test_tokens import logged_in
from tests.api.test_tree_uploads import send_tree
from tests.builders import digest_of
from tests.fixtures.api import in_process
from tests.fixtures.kernels import TREE, built, mails, pack, sha256

pytestmark = pytest.mark.anyio

KERNELS = "/api/v1/kernels"
PATCH_SETS = "/api/v1/patch_sets"
SERIES = mails("KVM: zap less", "KVM: zap later", "KVM: zap never")


async def make(http, name="mine", content=SERIES, **params):
    tree = params.pop("tree", None) or await send_tree(http)
    return await http.post(KERNELS, params={"name": name, "tree": tree} | params, content=content)


@pytest.fixture
async def mine(http):
    answer = await make(http)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def names_of(http, kernel="mine"):
    found = (await http.get(f"{KERNELS}/{kernel}")).json()
    return [build["name"] for build in found["builds"]]


def files_of(rows):
    return {path.name for path in rows.files()}


# --- the way of a user ----------------------------------------------------------------------------


async def test_a_tree_and_a_series_become_variants_a_batch_can_have(http, rows, builder):
    answer = await make(http, content=mails("KVM: zap less", "KVM: zap later"))

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{KERNELS}/mine"
    assert (made["base"], made["release"], made["state"]) == ("kernel:mine", "6.12.43", "queued")
    assert made["tree"] == sha256(pack())
    assert made["tree_bytes"] == len(pack())
    assert [patch["title"] for patch in made["patches"]] == ["KVM: zap less", "KVM: zap later"]
    assert made["patches"][0] | {"number": 1} == made["patches"][0]
    assert made["patches"][0]["author"] == "A Developer <a@developer.example>"
    assert made["patches"][0]["files"] == ["arch/x86/kvm/mmu/mmu.c"]
    assert [build["name"] for build in made["builds"]] == ["mine", "mine+1", "mine+1..2"]
    assert made["seconds"] is None

    body = {"name": "zap less", "base": "kernel:mine", "patches": ["1"]}
    early = await http.post(PATCH_SETS, json=body)
    assert (early.status_code, early.json()["type"]) == (409, "/problems/kernel-not-built")
    assert "wait for it" in early.json()["detail"]

    builder.start("mine", [1])
    assert (await http.get(f"{KERNELS}/mine")).json()["state"] == "running"
    for patches in ([], [1], [1, 2]):
        builder.finish("mine", patches)
    done = (await http.get(f"{KERNELS}/mine")).json()
    program = digest_of("mine[1]")
    assert (done["state"], done["seconds"]) == ("done", None)
    bare, first, _ = done["builds"]
    assert (bare["state"], bare["check"]) == ("built", "10 of 10 accesses as the guests saw them")
    assert (first["digest"], first["text"]) == (program, f"kernel:{program}")
    assert first["variant"] == variant_of_build(program, "", Parameters()).digest
    assert (first["compiler"], first["missing"]) == ("gcc 14.2.0", ["kvm_arch_something"])
    assert (bare["changes_nothing"], first["changes_nothing"]) == (None, False)

    created = await http.post(PATCH_SETS, json=body)
    patch_set = created.json()
    assert created.status_code == 201, created.text
    assert (patch_set["base"], patch_set["patches"]) == ("kernel:mine", ["1"])
    assert (patch_set["variant"]["engine"], patch_set["variant"]["digest"]) == (
        "kernel",
        first["variant"],
    )
    assert patch_set["variant"]["text"] == first["text"]
    assert (await http.get(created.headers["location"])).json() == patch_set


async def test_the_same_kernel_once_more_is_the_one_that_is_there(http, mine):
    again = await make(http)
    other_patches = await make(http, content=mails("KVM: another"))
    other_way = await make(http, sanitize=True)

    assert (again.status_code, again.json()["id"]) == (200, mine["id"])
    for refused in (other_patches, other_way):
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/conflict")
        assert "another kernel mine" in refused.json()["detail"]


async def test_a_key_makes_one_kernel(http):
    tree = await send_tree(http)
    given = {"params": {"name": "mine", "tree": tree}, "content": SERIES}
    answers = [
        await http.post(KERNELS, headers={"idempotency-key": "one"}, **given) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1].headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    ("plan", "names"),
    [
        ("series", ["mine", "mine+1", "mine+1..2", "mine+1..3"]),
        ("each", ["mine", "mine+1", "mine+2", "mine+3"]),
        ("ablation", ["mine", "mine+1..3", "mine+2+3", "mine+1+3", "mine+1..2"]),
    ],
)
async def test_a_plan_says_what_is_built(http, plan, names):
    made = (await make(http, plan=plan)).json()
    assert [build["name"] for build in made["builds"]] == names


async def test_a_tree_without_patches_is_a_kernel_too(http):
    made = (await make(http, content=b"")).json()
    assert (made["patches"], [build["name"] for build in made["builds"]]) == ([], ["mine"])
    refused = await http.post(f"{KERNELS}/mine/builds", json={"patches": [[1]]})
    assert (refused.status_code, "without patches" in refused.text) == (422, True)


async def test_more_is_built_on_request_and_what_failed_again(http, mine, builder):
    builder.fail("mine", [1])
    answer = await http.post(f"{KERNELS}/mine/builds", json={"patches": [[1, 3], [1], [3, 1]]})

    found = {build["name"]: build for build in answer.json()["builds"]}
    assert answer.status_code == 202
    assert (found["mine+1"]["state"], found["mine+1"]["attempt"]) == ("queued", 2)
    assert {"mine+1+3", "mine+3+1"} <= set(found)
    planned = await http.post(f"{KERNELS}/mine/builds", json={"plan": "each"})
    assert "mine+3" in {build["name"] for build in planned.json()["builds"]}
    assert await names_of(http) == [build["name"] for build in planned.json()["builds"]]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"patches": [[1]], "plan": "each"},
        {"patches": [[4]]},
        {"patches": [[1, 1]]},
        {"patches": [[0]]},
        {"patches": [[2**70]]},
        {"patches": []},
        {"patches": [[1]] * 257},
        {"plan": "all"},
        {"patches": [["1\u0000"]]},
    ],
)
async def test_what_cannot_be_built_is_refused_before_it_is_queued(http, mine, body):
    answer = await http.post(f"{KERNELS}/mine/builds", json=body)
    assert answer.status_code == 422, answer.text
    assert await names_of(http) == [build["name"] for build in mine["builds"]]


async def test_a_kernel_has_a_bounded_number_of_builds(http):
    await make(http, content=mails(*(f"KVM: step {number}" for number in range(8))))
    every = [[a, b, c] for a in range(1, 9) for b in range(1, 9) for c in range(1, 9)]
    wanted = [numbers for numbers in every if len(set(numbers)) == 3][:250]
    answer = await http.post(f"{KERNELS}/mine/builds", json={"patches": wanted})
    assert (answer.status_code, "at most 256" in answer.text) == (422, True)


async def test_what_came_of_builds_stands_in_the_kernel(http, mine, builder):
    builder.finish("mine", [])
    builder.finish("mine", [1], refusal="patch 'KVM: zap less' does not apply at mmu.c:1")
    builder.fail("mine", [1, 2])
    builder.finish("mine", [1, 2, 3])

    found = (await http.get(f"{KERNELS}/{mine['id']}")).json()
    assert found["state"] == "done"
    assert [build["state"] for build in found["builds"]] == ["built", "refused", "failed", "built"]
    assert "mmu.c:1" in found["builds"][1]["refusal"]
    assert (found["builds"][2]["error"], found["builds"][2]["log"]) == (
        "the worker ended three times",
        "compiling mmu.c",
    )
    refused = await http.post(
        PATCH_SETS, json={"name": "x", "base": "kernel:mine", "patches": ["1"]}
    )
    assert (refused.status_code, "does not apply" in refused.text) == (422, True)
    failed = await http.post(
        PATCH_SETS, json={"name": "x", "base": "kernel:mine", "patches": ["1", "2"]}
    )
    assert (failed.status_code, "tries again" in failed.text) == (409, True)


async def test_a_tree_that_makes_no_kernel_is_a_failed_kernel(http, mine, builder):
    builder.finish("mine", [], refusal="arch/x86/kvm/mmu/mmu.c does not compile")
    assert (await http.get(f"{KERNELS}/mine")).json()["state"] == "failed"


async def test_a_patch_that_changes_no_byte_says_so(http, mine, builder):
    objects = {"objects": {"mmu.c": digest_of("same")}}
    builder.finish("mine", [], built("a", **objects))
    builder.finish("mine", [1], built("b", **objects))
    builder.finish("mine", [1, 2], built("c"))
    found = (await http.get(f"{KERNELS}/mine")).json()["builds"]
    assert [build["changes_nothing"] for build in found] == [None, True, False, None]


async def test_how_long_it_takes_is_told_from_the_last_builds(http, mine, builder, rows):
    for patches in ([], [1]):
        builder.finish("mine", patches)
    with session.transaction(rows.engine, FIRST_PROJECT) as opened:
        start = opened.scalar(sa.select(sa.func.now()))
        by_position = sa.select(KernelBuild).order_by(KernelBuild.position)
        for seconds, row in enumerate(opened.scalars(by_position).all(), 1):
            if row.state == "done":
                # Claimed together, and made one after the other: 10 s each.
                row.started_at = start
                row.finished_at = start + sa.func.make_interval(0, 0, 0, 0, 0, 0, 10 * seconds)
    found = (await http.get(f"{KERNELS}/mine")).json()
    assert (found["state"], found["seconds"]) == ("queued", 20)
    listed = (await http.get(KERNELS)).json()["items"]
    assert [entry["seconds"] for entry in listed] == [20]


async def test_kernels_are_listed_newest_first_without_logs(http, mine, builder):
    builder.fail("mine", [])
    tree = mine["tree"]
    for name in ("second", "third"):
        await make(http, name, b"", tree=tree)
    first = (await http.get(KERNELS, params={"limit": 2})).json()
    rest = (await http.get(KERNELS, params={"cursor": first["next_cursor"]})).json()
    assert [entry["name"] for entry in first["items"] + rest["items"]] == [
        "third",
        "second",
        "mine",
    ]
    assert rest["items"][0]["builds"][0]["log"] is None


async def test_a_patch_is_shown_as_the_diff_it_was_sent_as(http, mine):
    answer = await http.get(f"{KERNELS}/mine/patches/2")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "+\t/* KVM: zap later */" in answer.text
    assert (await http.get(f"{KERNELS}/mine/patches/4")).status_code == 404
    assert (await http.get(f"{KERNELS}/mine/patches/65")).status_code == 422
    assert (await http.get(f"{KERNELS}/yours/patches/1")).status_code == 404


async def test_a_kernel_may_be_named_like_an_id(http):
    name = "0190a0a0-0000-7000-8000-000000000001"
    assert (await make(http, name, b"")).status_code == 201
    assert (await http.get(f"{KERNELS}/{name}")).json()["name"] == name


def late_zero_byte():
    """Where a look at the beginning of a mail does not find it."""
    text = SERIES.replace(b"---\n", b"---\n" + b"words\n" * 2000, 1)
    return text.replace(b"+\t/* KVM", b"+\0", 1)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello", "no patch"),
        (b"From 0000" + mails("KVM: one", "KVM: two").split(b"From 0000")[2], "1/2"),
        (gzip.compress(SERIES)[:200], ""),
        (late_zero_byte(), "zero byte"),
        (mails(*(f"KVM: step {number}" for number in range(65))), "65 patches"),
    ],
    ids=["no mail", "one of two", "cut off", "a zero byte", "too many"],
)
async def test_mails_that_hold_no_series_make_no_kernel(http, content, words):
    answer = await make(http, content=content)
    assert answer.status_code == 422, answer.text
    assert words in answer.text
    assert (await http.get(KERNELS)).json()["items"] == []


async def test_mails_may_be_packed(http):
    made = await make(http, content=gzip.compress(SERIES))
    assert len(made.json()["patches"]) == 3


async def test_names_of_files_in_a_diff_are_shown_printable(http):
    odd = SERIES.replace(b"a/arch/x86/kvm/mmu/mmu.c", b"a/arch/\x1b[31mmmu.c")
    answer = await make(http, content=odd)
    assert answer.status_code == 201
    assert "\x1b" not in answer.json()["patches"][0]["files"][0]


async def test_too_many_bytes_of_mail_are_refused(http):
    answer = await make(http, content=bytes(8 * 1024 * 1024 + 1))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "params",
    [
        {"name": "Mine"},
        {"name": "mine+1"},
        {"name": "x" * 41},
        {"tree": "x"},
        {"tree": "a" * 65},
        {"plan": "matrix"},
        {"version": "0"},
        {"sanitize": "perhaps"},
        {"name": "a\u202eb"},
    ],
    ids=str,
)
async def test_parameters_out_of_range_are_named(http, params):
    given = {"name": "mine", "tree": digest_of("tree")} | params
    answer = await http.post(KERNELS, params=given, content=b"")
    (name,) = params
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["parameter"] == name


async def test_a_tree_that_nobody_uploaded_is_unknown(http):
    answer = await make(http, tree=digest_of("tree"))
    assert (answer.status_code, "refault kernel pack" in answer.text) == (404, True)


@pytest.mark.parametrize(
    ("given", "status", "pointer"),
    [
        ({"base": "kernel:yours"}, 404, "/base"),
        ({"base": "kernel:"}, 404, "/base"),
        ({"patches": ["4"]}, 422, "/patches"),
        ({"patches": ["1", "1"]}, 422, "/patches"),
        ({"patches": ["zap-account"]}, 422, "/patches"),
        ({"patches": ["\u0661"]}, 422, "/patches"),
        ({"parameters": {"tlb": 1}}, 422, "/parameters"),
        ({"parameters": {"bypass": 1}}, 422, "/parameters"),
    ],
    ids=str,
)
async def test_a_patch_set_on_a_kernel_names_what_is_wrong(
    http, mine, builder, given, status, pointer
):
    builder.finish("mine", [])
    answer = await http.post(PATCH_SETS, json={"name": "x", "base": "kernel:mine"} | given)
    assert answer.status_code == status, answer.text
    assert [entry["pointer"] for entry in answer.json()["errors"]] == [pointer]


async def test_mails_of_the_catalogue_do_not_go_on_a_kernel(http, mine):
    answer = await http.post(
        f"{PATCH_SETS}/from_mail",
        params={"name": "x", "base": "kernel:mine", "map": "0=zap-account", "partial": True},
        content=mails("KVM: zap less"),
    )
    assert answer.status_code == 422, answer.text


# --- deletion -------------------------------------------------------------------------------------


async def test_a_kernel_is_deleted_with_its_tree_its_programs_and_their_files(
    http, rows, mine, builder
):
    builder.finish("mine", [])
    builder.finish("mine", [1])
    assert len(files_of(rows)) == 3
    answer = await http.delete(f"{KERNELS}/mine")
    assert answer.status_code == 204
    assert files_of(rows) == set()
    with transaction(rows.engine) as opened:
        for model in (Program, Tree, KernelBuild):
            assert opened.scalars(sa.select(model)).all() == []
    assert (await http.get(f"{KERNELS}/mine")).status_code == 404
    assert (await http.delete(f"{KERNELS}/mine")).status_code == 404
    # Its name is free, and its tree may come again.
    assert (await make(http, content=b"")).status_code == 201


async def test_what_another_kernel_has_is_kept(http, rows, mine, builder):
    await make(http, "twin", b"", tree=mine["tree"])
    own = builder.finish("mine", [1])
    shared = built("shared")
    kept = builder.finish("mine", [], shared, data=b"one program")
    builder.finish("twin", [], shared, data=b"one program")

    assert (await http.delete(f"{KERNELS}/mine")).status_code == 204
    assert files_of(rows) == {mine["tree"], kept}
    assert own not in files_of(rows)
    assert (await http.delete(f"{KERNELS}/twin")).status_code == 204
    assert files_of(rows) == set()


async def test_another_projects_tree_and_program_are_kept_and_not_mentioned(
    site, http, rows, mine, builder
):
    second = rows.add_project("second")
    async with in_process(site, rows.mint_token(project=second)) as other:
        assert (await make(other, content=b"")).status_code == 201
        kept = builder.finish("mine", [], built("shared"), data=b"one program")
        builder.finish("mine", [], built("shared"), data=b"one program", project=second)
        assert (await http.delete(f"{KERNELS}/mine")).status_code == 204
        assert files_of(rows) == {mine["tree"], kept}
        assert (await other.get(f"{KERNELS}/mine")).json()["builds"][0]["state"] == "built"
        assert (await other.delete(f"{KERNELS}/mine")).status_code == 204
    assert files_of(rows) == set()


async def test_a_kernel_of_an_open_batch_is_kept_until_it_is_over(http, rows, mine, builder):
    builder.finish("mine", [])
    rows.register_simulator()
    with transaction(rows.engine) as opened:
        simulators.register(
            opened,
            name="builder",
            simulators={"kernel": digest_of("kernel")},
            semantics_version=1,
            host="host",
            pid=2,
        )
    trace = rows.add_trace("boot")
    chosen = await http.post(PATCH_SETS, json={"name": "x", "base": "kernel:mine"})
    body = {"traces": [trace], "patch_sets": [chosen.json()["id"]], "plan": "each"}
    batch = await http.post("/api/v1/batches", json=body)
    assert batch.status_code == 201, batch.text
    code = batch.json()["code"]

    refused = await http.delete(f"{KERNELS}/mine")
    assert (refused.status_code, code in refused.text) == (409, True)
    await http.post(f"/api/v1/batches/{code}/cancel")
    assert (await http.delete(f"{KERNELS}/mine")).status_code == 204

    # The batch and its patch set stay, and nothing new is made of that set.
    assert (await http.get(f"/api/v1/batches/{code}")).status_code == 200
    kept = (await http.get(chosen.headers["location"])).json()
    assert (kept["base"], kept["patches"]) == ("kernel:mine", [])
    again = await http.post("/api/v1/batches", json=body | {"recompute": True})
    assert (again.status_code, again.json()["type"]) == (422, "/problems/unknown-kernel")


async def test_kernels_made_and_deleted_at_once_leave_no_half_of_one(http, rows):
    """A tree goes with its last kernel, unless another one is just being made of it."""
    tree = await send_tree(http)
    told = []

    async def ask(method, place, **given):
        told.append((await http.request(method, place, **given)).status_code)

    for turn in range(12):
        if (await make(http, f"old{turn}", b"", tree=tree)).status_code == 404:
            await make(http, f"old{turn}", b"")
        async with anyio.create_task_group() as group:
            group.start_soon(partial(ask, "DELETE", f"{KERNELS}/old{turn}"))
            params = {"name": f"new{turn}", "tree": tree}
            group.start_soon(partial(ask, "POST", KERNELS, params=params))
            group.start_soon(partial(send_tree, http, checked=False))
        with transaction(rows.engine) as opened:
            trees = set(opened.scalars(sa.select(Tree.digest)))
        assert files_of(rows) == trees
        await http.delete(f"{KERNELS}/new{turn}")
    # 409: the file was being removed just then.
    assert set(told) <= {201, 204, 404, 409}
    assert told.count(204) == 12


async def test_two_who_delete_a_kernel_at_once_delete_it_once(http, mine, builder, rows):
    builder.finish("mine", [])
    told = []

    async def delete():
        told.append((await http.delete(f"{KERNELS}/mine")).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(delete)
    assert sorted(told) == [204, 404, 404, 404]
    assert files_of(rows) == set()


async def test_a_project_has_a_bounded_number_of_kernels(http, monkeypatch):
    monkeypatch.setattr(kernels, "KERNELS_MAX", 1)
    tree = (await make(http)).json()["tree"]
    assert (await make(http, tree=tree)).status_code == 200
    assert (await make(http, "second", tree=tree)).status_code == 507


def age_trees(rows):
    with transaction(rows.engine) as opened:
        opened.execute(sa.text("UPDATE trees SET created_at = now() - interval '2 h'"))


async def test_an_unused_tree_expires_and_one_with_a_kernel_does_not(api_settings, token, rows):
    async with service(api_settings, token, upload_expire_seconds=3600) as http:
        used = (await make(http, content=b"")).json()["tree"]
        unused = await send_tree(http, pack({**TREE, "linux/include/x.h": b"#\n"}))
        resources = http._transport.app.api.state.resources
        housekeeping.tidy_up(resources)
        assert files_of(rows) == {used, unused}
        with transaction(rows.engine) as opened:
            opened.execute(
                sa.update(Tree).values(created_at=sa.func.now() - sa.text("'2 h'::interval"))
            )
        # Who brings it again wants it.
        again = await send_tree(http, pack({**TREE, "linux/include/x.h": b"#\n"}))
        housekeeping.tidy_up(resources)
        assert (again, files_of(rows)) == (unused, {used, unused})
        with transaction(rows.engine) as opened:
            opened.execute(
                sa.update(Tree).values(created_at=sa.func.now() - sa.text("'2 h'::interval"))
            )
        housekeeping.tidy_up(resources)
        assert files_of(rows) == {used}
        assert (await make(http, "late", b"", tree=unused)).status_code == 404


# --- who may --------------------------------------------------------------------------------------


async def test_where_the_operator_has_not_allowed_it_nothing_is_written(api_settings, token, mine):
    async with service(api_settings, token, builds=False) as http:
        refused = [
            await make(http, tree=mine["tree"]),
            await http.post(f"{KERNELS}/mine/builds", json={"plan": "each"}),
            await http.delete(f"{KERNELS}/mine"),
            await send_tree(http, checked=False),
        ]
        for answer in refused:
            assert answer.status_code == 403, answer.text
            assert "REFAULT_BUILDS=true" in answer.text
        assert (await http.get(f"{KERNELS}/mine")).status_code == 200
        assert (await http.get(f"{KERNELS}/mine/patches/1")).status_code == 200
        assert (await http.get("/api/v1/limits")).json()["builds"] is False


@pytest.mark.parametrize(
    ("build_role", "builds"),
    [
        ("maintainer", {"maintainer", "token"}),
        ("contributor", {"contributor", "maintainer", "token"}),
        ("nobody", set()),
    ],
)
async def test_a_project_says_who_builds(site, http, rows, build_role, builds):
    rows.add_user("anna", "maintainer")
    rows.add_user("carl", "contributor")
    rows.add_user("vera", "viewer")
    rows.add_user("root", is_admin=True)
    body = {"shard_seconds": None, "build_role": build_role}
    assert (await http.put("/api/v1/limits", json=body)).json()["build_role"] == build_role
    for user, role in {"anna": "maintainer", "carl": "contributor", "vera": "viewer"}.items():
        async with logged_in(site, user) as caller:
            assert ("build" in (await caller.get("/api/v1/me")).json()["scopes"]) == (
                role in builds
            )
            token = await caller.post(
                "/api/v1/tokens", json={"name": "mine", "scopes": ["read", "build"]}
            )
            assert token.status_code == (201 if role in builds else 403)
    async with in_process(site, rows.mint_token(["read", "upload", "build"])) as caller:
        tree = await send_tree(caller, checked=False)
        assert tree.status_code == (201 if "token" in builds else 403)


async def test_a_token_builds_no_longer_once_its_project_says_so(site, http, rows, mine):
    secret = rows.mint_token(["read", "build"])
    async with in_process(site, secret) as caller:
        wanted = {"plan": "each"}
        assert (await caller.post(f"{KERNELS}/mine/builds", json=wanted)).status_code == 202
        assert admin.main(["--database-url", url_of(rows), "set-builds", "main", "nobody"]) == 0
        entry = (await http.get("/api/v1/audit")).json()["items"][0]
        assert (entry["action"], entry["subject"]) == ("set-builds", "main nobody")
        refused = await caller.post(f"{KERNELS}/mine/builds", json=wanted)
        assert (refused.status_code, "'build'" in refused.text) == (403, True)
        assert (await caller.get(f"{KERNELS}/mine")).status_code == 200


def url_of(rows):
    return rows.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


async def test_only_a_maintainer_says_who_builds(site, rows):
    rows.add_user("carl", "contributor")
    async with logged_in(site, "carl") as carl:
        body = {"shard_seconds": None, "build_role": "contributor"}
        assert (await carl.put("/api/v1/limits", json=body)).status_code == 403


async def test_limits_without_a_word_of_builds_leave_them_alone(http):
    for role in ("contributor", None):
        body = {"shard_seconds": 60, "build_role": role}
        assert (await http.put("/api/v1/limits", json=body)).status_code == 200
    answer = await http.put("/api/v1/limits", json={"shard_seconds": None})
    assert answer.json()["build_role"] == "contributor"
    assert (
        await http.put("/api/v1/limits", json={"shard_seconds": None, "build_role": "everybody"})
    ).status_code == 422


async def test_limits_count_the_workers_that_build(http, rows):
    rows.register_simulator()
    assert (await http.get("/api/v1/limits")).json()["builders"] == 0
    with transaction(rows.engine) as opened:
        opened.execute(sa.text("UPDATE workers SET can_build = true"))
    assert (await http.get("/api/v1/limits")).json()["builders"] == 1
    with transaction(rows.engine) as opened:
        opened.execute(sa.text("UPDATE workers SET ended_at = now(), ended_in_order = true"))
    found = (await http.get("/api/v1/limits")).json()
    assert (found["builders"], found["builds"], found["build_role"]) == (0, True, "maintainer")


async def test_a_kernel_is_deleted_by_who_made_it_or_a_maintainer(site, http, rows):
    first, second = (rows.mint_token(["read", "upload", "build"]) for _ in range(2))
    async with in_process(site, first) as one, in_process(site, second) as two:
        await make(one)
        assert (await two.post(f"{KERNELS}/mine/builds", json={"plan": "each"})).status_code == 202
        assert (await two.delete(f"{KERNELS}/mine")).status_code == 403
        assert (await one.delete(f"{KERNELS}/mine")).status_code == 204
        await make(one)
        assert (await http.delete(f"{KERNELS}/mine")).status_code == 204


async def test_to_another_project_no_kernel_and_no_tree_is_there(site, rows, mine):
    second = rows.add_project("second")
    async with in_process(site, rows.mint_token(project=second)) as other:
        for place in (f"{KERNELS}/mine", f"{KERNELS}/{mine['id']}", f"{KERNELS}/mine/patches/1"):
            assert (await other.get(place)).status_code == 404
        assert (await other.delete(f"{KERNELS}/mine")).status_code == 404
        assert (
            await other.post(f"{KERNELS}/{mine['id']}/builds", json={"plan": "each"})
        ).status_code == 404
        assert (await make(other, tree=mine["tree"])).status_code == 404
        on_it = await other.post(PATCH_SETS, json={"name": "x", "base": "kernel:mine"})
        assert on_it.status_code == 404
        assert (await other.get(KERNELS)).json()["items"] == []
        assert (await make(other)).status_code == 201


async def test_writes_are_audited(http, mine):
    await http.post(f"{KERNELS}/mine/builds", json={"plan": "each"})
    await http.delete(f"{KERNELS}/mine")
    entries = (await http.get("/api/v1/audit")).json()["items"]
    noted = [(entry["action"], entry["subject"]) for entry in entries]
    assert noted[:2] == [
        ("DELETE /kernels/{kernel}", f"{KERNELS}/mine"),
        ("POST /kernels/{kernel}/builds", f"{KERNELS}/mine/builds"),
    ]
    assert ("POST /kernels", f"{KERNELS}/mine") in noted


async def test_builds_are_in_the_metrics(api_settings, token, mine, builder):
    builder.start("mine", [])
    async with service(api_settings, token, metrics_open=True) as http:
        text = (await http.get("/metrics")).text
    assert 'refault_builds{state="queued"} 3.0' in text
    assert 'refault_builds{state="running"} 1.0' in text
