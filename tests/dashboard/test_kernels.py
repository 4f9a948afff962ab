"""The pages of kernels of people's own trees."""

import io
import json
import zipfile

import pytest
import sqlalchemy as sa

from db.models import KernelBuild
from db.repositories import simulators
from services.api.app import create_api
from services.api.site import Site
from services.dashboard.app import create_pages
from tests.builders import digest_of, transaction
from tests.dashboard.test_doors import form_key, log_in
from tests.dashboard.test_pages import HOSTILE, Page
from tests.fixtures.api import SIMULATOR, in_process
from tests.fixtures.kernels import Builder, mails, pack

pytestmark = pytest.mark.anyio

TITLES = ("Zap less", "Flush less", "Break it")
REFUSAL = "patch 'Break it' does not apply at arch/x86/kvm/mmu/mmu.c:17: rebase the series on it"


@pytest.fixture
def api_settings(api_settings):
    return api_settings.model_copy(update={"builds": True})


@pytest.fixture
def builder(site, rows):
    return Builder(rows.engine, site.api.state.resources.blobs)


@pytest.fixture
def annas_role():
    return "maintainer"


async def make(http, name="mine", titles=TITLES):
    data = pack()
    head = {"tus-resumable": "1.0.0"}
    sent = await http.post(
        "/api/v1/uploads",
        headers=head | {"upload-length": str(len(data)), "upload-metadata": "content dHJlZQ=="},
    )
    done = await http.patch(
        sent.headers["location"],
        content=data,
        headers=head | {"upload-offset": "0", "content-type": "application/offset+octet-stream"},
    )
    query = {"name": name, "tree": done.headers["refault-tree"]}
    answer = await http.post("/api/v1/kernels", params=query, content=mails(*titles))
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
async def kernel(http, builder):
    """A kernel of three patches, the last of which does not apply."""
    made = await make(http)
    for numbers in ((), (1,), (1, 2)):
        builder.finish("mine", numbers)
    builder.finish("mine", (1, 2, 3), refusal=REFUSAL)
    return made


async def test_without_kernels_the_page_says_how_to_make_one(http):
    answer = await http.get("/kernels")

    text = Page(answer).text
    assert "refault submit TRACE --kernel ~/linux --mail my-series.mbox" in text
    assert "refault kernel push ~/linux --name mine" in text
    assert "No worker that builds kernels is running" in text


async def test_a_service_that_builds_none_says_who_can_change_that(api_settings, rows, token):
    api = create_api(api_settings.model_copy(update={"builds": False}))
    try:
        async with in_process(Site(api, create_pages(api)), token) as http:
            page = Page(await http.get("/kernels"))
    finally:
        api.state.resources.close()

    assert "its operator has to set REFAULT_BUILDS=true" in page.text


@pytest.mark.parametrize("query", ["", "?plan=series"])
async def test_the_part_of_a_form_without_a_kernel_leads_to_the_form(http, kernel, query):
    answer = await http.get(f"/batches/new/kernel{query}")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/batches/new")


async def test_the_list_has_release_patches_state_and_a_link(http, kernel):
    page = Page(await http.get("/kernels"))

    assert "/kernels/mine" in [tag["href"] for tag in page.all("a")]
    assert "mine ✓ done ✕ 1 refused 6.12.43 3 3 of 4" in page.text


async def test_the_navigation_leads_there_for_those_who_read(http, site, kernel):
    assert "/kernels" in [tag["href"] for tag in Page(await http.get("/")).all("a")]
    async with in_process(site) as stranger:
        login = await stranger.get("/login")
        assert "/kernels" not in [tag["href"] for tag in Page(login).all("a")]
        asked = await stranger.get("/kernels", follow_redirects=False)
        assert asked.headers["location"].startswith("/login")


async def test_a_kernel_has_its_builds_with_check_digest_and_refusal_in_full(http, kernel):
    answer = await http.get("/kernels/mine")

    page = Page(answer)
    [first, *_] = (await http.get("/api/v1/kernels/mine")).json()["builds"]
    assert first["check"] in page.text
    assert first["digest"][:12] in page.text
    assert f"refault replay TRACE.rft -v kernel:{first['digest']}" in page.text
    assert "mine+1..3 was refused:" in page.text
    assert REFUSAL in page.text
    assert first["compiler"] in page.text
    assert "kvm_arch_something" in page.text


async def test_builds_with_one_reason_are_told_together(http, builder):
    await make(http)
    builder.finish("mine", ())
    for numbers in ((1,), (1, 2), (1, 2, 3)):
        builder.finish("mine", numbers, refusal=REFUSAL)

    page = Page(await http.get("/kernels/mine"))

    assert "mine+1, mine+1..2, mine+1..3 were refused:" in page.text.replace(" ,", ",")


async def test_its_patches_lead_to_their_diffs(http, kernel):
    page = Page(await http.get("/kernels/mine"))

    links = [tag["href"] for tag in page.all("a") if "/patches/" in tag["href"]]
    assert links == [f"/api/v1/kernels/mine/patches/{number}" for number in (1, 2, 3)]
    assert "/* Flush less */" in (await http.get(links[1])).text
    for title in TITLES:
        assert title in page.text


async def test_it_says_how_to_submit_a_batch_on_it(http, kernel):
    text = Page(await http.get("/kernels/mine")).text

    for plan in ("series", "each", "ablation"):
        assert f"refault submit TRACE --kernel mine --plan {plan} --wait" in text


async def test_while_it_is_built_the_page_is_live_with_and_without_javascript(http, rows, builder):
    await make(http, titles=("One",))
    builder.start("mine")
    with transaction(rows.engine) as session:
        session.execute(
            sa.update(KernelBuild)
            .where(KernelBuild.state == "running")
            .values(units_done=3, units_total=40)
        )

    page = Page(await http.get("/kernels/mine"))
    parts = Page(await http.get("/kernels/mine/parts"))

    [refresh] = [tag for tag in page.all("meta") if tag.get("http-equiv") == "refresh"]
    assert refresh["content"] == "5"
    assert [tag["data-poll"] for tag in page.all("div") if "data-poll" in tag] == [
        "/kernels/mine/parts"
    ]
    [bar] = page.all("progress")
    assert (bar["value"], bar["max"]) == ("3", "80")
    assert "3 of 40 files" in page.text
    assert any("data-open" in tag for tag in parts.all("div"))
    assert "<html" not in (await http.get("/kernels/mine/parts")).text

    for numbers in ((), (1,)):
        builder.finish("mine", numbers)
    after = Page(await http.get("/kernels/mine"))
    parts = Page(await http.get("/kernels/mine/parts"))
    assert not [tag for tag in after.all("meta") if tag.get("http-equiv") == "refresh"]
    assert not any("data-open" in tag for tag in parts.all("div"))


async def test_its_maker_deletes_it_with_a_form(anna, kernel):
    page = await anna.get("/kernels/mine")
    assert "/kernels/mine/delete" in [tag["action"] for tag in Page(page).all("form")]

    unkeyed = await anna.post("/kernels/mine/delete", data={"form_key": "x"})
    ended = await anna.post("/kernels/mine/delete", data={"form_key": form_key(page)})

    assert unkeyed.status_code == 403
    assert ended.headers["location"] == "/kernels"
    assert (await anna.get("/kernels/mine")).status_code == 404


async def test_who_may_not_build_sees_no_form_and_is_told(site, rows, kernel):
    rows.add_user("otto", "viewer")
    async with in_process(site) as otto:
        otto.headers["origin"] = "http://refault.test"
        await log_in(otto, name="otto")
        page = Page(await otto.get("/kernels/mine"))
        listed = Page(await otto.get("/kernels"))

    assert "/kernels/mine/delete" not in [tag["action"] for tag in page.all("form")]
    assert "You may not have kernels built here" in listed.text


async def test_another_projects_kernel_is_not_there(site, rows, kernel):
    foreign = rows.mint_token(project=rows.add_project("other"))
    async with in_process(site, foreign) as stranger:
        assert (await stranger.get("/kernels/mine")).status_code == 404
        assert "mine" not in [text.strip() for text in Page(await stranger.get("/kernels")).texts]


async def test_what_strangers_wrote_is_text(http, rows, builder):
    await make(http, titles=("<img src=x onerror=alert(2)>",))
    builder.finish("mine", (), refusal=HOSTILE)
    builder.fail("mine", (1,), error=HOSTILE)

    answer = await http.get("/kernels/mine")

    page = Page(answer)
    assert not page.all("img")
    assert len([tag for tag in page.all("script") if "src" not in tag]) == 0
    assert HOSTILE in "".join(page.texts)
    assert "so there is nothing to compare with" in page.text
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy


async def test_tables_are_real_tables_and_ids_are_given_once(http, kernel):
    page = Page(await http.get("/kernels/mine"))

    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(page.all("table")) == len(page.all("caption")) == 2
    assert all(head.get("scope") in {"col", "row"} for head in page.all("th"))
    for region in (tag for tag in page.all("div") if tag.get("role") == "region"):
        assert region["aria-labelledby"] in ids


async def test_a_batch_on_it_says_that_its_columns_are_of_the_kernel(http, rows, kernel):
    engines = {"shadow": SIMULATOR, "kernel": digest_of("engine")}
    with transaction(rows.engine) as session:
        simulators.register(
            session, name="w", simulators=engines, semantics_version=1, host="h", pid=1
        )
    trace = rows.add_trace("boot")
    body = {"name": "mine+1..2", "base": "kernel:mine", "patches": ["1", "2"]}
    row = (await http.post("/api/v1/patch_sets", json=body)).json()
    batch = {"traces": [trace], "patch_sets": [row["id"]], "plan": "series"}
    answer = await http.post("/api/v1/batches", json=batch)
    assert answer.status_code == 201, answer.text

    code = answer.json()["code"]
    page = Page(await http.get(f"/batches/{code}"))
    bundle = zipfile.ZipFile(
        io.BytesIO((await http.get(f"/api/v1/comparisons/{code}.zip")).content)
    )
    [manifest] = [name for name in bundle.namelist() if name.endswith("manifest.json")]
    [told] = json.loads(bundle.read(manifest))["batch"]["patch_sets"]

    assert told["titles"] == [*TITLES[:2]]
    name = row["variant"]["name"]
    assert f"kernel · {name}" in page.texts
    assert "it is the real code" in page.texts
    assert "/kernels/mine" in [tag["href"] for tag in page.all("a")]
    assert not page.all("abbr")


async def test_a_patch_set_on_it_names_its_patches_by_title(http, rows, kernel):
    rows.register_simulator()
    body = {"name": "Two of it", "base": "kernel:mine", "patches": ["1", "2"]}
    row = (await http.post("/api/v1/patch_sets", json=body)).json()

    page = Page(await http.get(f"/patch_sets/{row['id']}"))

    assert "base kernel:mine a kernel of your own 1 Zap less 2 Flush less" in page.text
    assert f"refault submit TRACE -s {row['id']} --plan series --wait" in page.text
    assert "refault replay" not in page.text
    assert "kernel:mine" in Page(await http.get("/patch_sets?base=kernel:mine")).text
    builds = await http.delete("/api/v1/kernels/mine")
    assert builds.status_code == 204
    gone = Page(await http.get(f"/patch_sets/{row['id']}"))
    assert "1 patch 1 of its series" in gone.text
