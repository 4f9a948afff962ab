import threading
from html.parser import HTMLParser

import pytest

from db.repositories import results, simulators
from refault.client import AsyncClient
from refault.results import RunResult
from services.api.app import create_api
from services.api.site import Site
from services.dashboard.app import create_pages
from services.dashboard.pages import Pages
from tests.builders import digest_of, transaction, write_result
from tests.bundle.test_bundle import made as bundle_made
from tests.fixtures.api import SERIES, SIMULATOR, in_process, runs_of

pytestmark = pytest.mark.anyio

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> & evil {{ 7*7 }}"


class Page(HTMLParser):
    """A page as a tree of what the tests ask for; raises on tags that do not close."""

    VOID = frozenset({"meta", "link", "img", "source", "br", "input", "path"})

    def __init__(self, answer) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(answer.text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


async def submit(http, digests, body=SERIES, plan="series"):
    row = (await http.post("/api/v1/patch_sets", json=body)).json()
    batch = {"traces": digests, "patch_sets": [row["id"]], "plan": plan}
    return (await http.post("/api/v1/batches", json=batch)).json()["code"]


@pytest.fixture
async def code(http, rows):
    return await submit(http, rows.ready_for_seed_series())


async def test_the_page_opens_with_which_to_merge_which_not_and_why(http, code):
    text = Page(await http.get(f"/batches/{code}")).text

    assert (
        "Do not merge patch 3 (parent-stop-bit): something goes wrong with it. Patch 6 "
        "(unsync-list-global) costs more. Patches 1, 2, 4 and 5 make no notable difference." in text
    )
    assert (
        "do not 3 parent-stop-bit on linux61-boot-1cpu: the guest sees 64 wrong accesses 1-4, 1-5 "
        "carry it on; 1-6 ends it" in text
    )
    assert "costs more 6 unsync-list-global costs more" in text
    assert "no effect 1 unsync-walk-struct , 2 zap-account , 4 cr4-posted , 5 sp-flags-word" in text
    assert "Of 8 cells compared with the base: 2 identical" in text
    assert "10 of 10 results were known already" in text
    assert text.index("wrong accesses") < text.index("exits")


async def test_tables_are_real_tables(http, code):
    page = Page(await http.get(f"/batches/{code}"))

    tables = len(page.all("table"))
    assert tables == len(page.all("caption"))
    assert tables >= 4
    assert all(head.get("scope") in {"col", "row", "rowgroup"} for head in page.all("th"))
    regions = [tag for tag in page.all("div") if tag.get("role") == "region"]
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert regions
    assert all(region["aria-labelledby"] in ids for region in regions)


async def test_every_id_is_given_once_and_every_anchor_leads_somewhere(http, code):
    page = Page(await http.get(f"/batches/{code}"))

    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    anchors = {a["href"] for a in page.all("a") if a["href"].startswith("#")}
    assert len(ids) == len(set(ids))
    assert anchors <= {f"#{name}" for name in ids}


async def test_counts_stand_beside_sign_arrow_and_percentage(http, code):
    text = Page(await http.get(f"/batches/{code}")).text

    assert "114,347 ▲ +18,162 (+18.9%)" in text
    assert "12,158 ▼ −19,383 (−61.5%)" in text


async def test_columns_the_real_code_never_ran_are_marked(http, code):
    page = Page(await http.get(f"/batches/{code}"))

    marks = [tag for tag in page.all("abbr") if "never run" in tag["title"]]
    assert len(marks) == 2  # one column, in the tables of two traces
    assert "real code: series" in page.text


async def test_findings_name_their_event_and_their_operation(http, code):
    text = Page(await http.get(f"/batches/{code}")).text

    assert "Findings under 1-3 (1 of 64 shown)" in text
    assert (
        "missed-fault at event 1,412,874 , operation 1,302,744 , vCPU 0, gva 0x7fc8aa720000" in text
    )


async def test_the_page_names_its_digests_its_command_and_its_other_forms(http, code):
    page = Page(await http.get(f"/batches/{code}"))

    for digest in (digest_of("linux61-boot-1cpu"), SIMULATOR):
        assert digest in page.text
    assert "refault replay linux61-workload-1cpu.rft linux61-boot-1cpu.rft -v base" in page.text
    links = {a["href"] for a in page.all("a")}
    for form in ("txt", "md", "csv", "json", "svg"):
        path = f"/api/v1/comparisons/{code}.{form}"
        assert path in links
        assert (await http.get(path)).status_code == 200


async def test_each_trace_has_a_drawing_for_light_and_for_dark(http, code):
    page = Page(await http.get(f"/batches/{code}"))

    drawings = [tag["src"] for tag in page.all("img")] + [
        tag["srcset"] for tag in page.all("source")
    ]
    assert len(drawings) == 4
    assert all(tag["alt"] for tag in page.all("img"))
    for drawing in drawings:
        answer = await http.get(drawing)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/svg+xml"


async def test_another_base_is_a_link_away(http, code):
    page = Page(await http.get(f"/batches/{code}"))
    other = Page(await http.get(f"/batches/{code}?base=6"))

    assert "?base=6" in {a["href"] for a in page.all("a")}
    assert "compared with 1-6" in other.text
    assert f"/api/v1/comparisons/{code}.txt?base=6" in {a["href"] for a in other.all("a")}


async def test_a_finished_page_has_no_script_and_a_running_one_works_without(http, rows, code):
    running = await submit(http, [rows.add_trace("another")])
    finished_page = Page(await http.get(f"/batches/{code}"))
    running_page = Page(await http.get(f"/batches/{running}"))

    keys = "/static/keys.js"
    scripts = [tag["src"].partition("?")[0] for tag in finished_page.all("script")]
    assert scripts == [keys]
    assert not [tag for tag in finished_page.all("meta") if tag.get("http-equiv")]
    running_scripts = {tag["src"].partition("?")[0] for tag in running_page.all("script")}
    assert running_scripts == {keys, "/static/watch.js"}
    assert [tag for tag in running_page.all("meta") if tag.get("http-equiv") == "refresh"]
    assert "0 of 5 runs finished" in running_page.text
    assert "No result" in running_page.text


async def test_what_is_known_is_shown_while_the_rest_runs(http, rows):
    rows.register_simulator()
    rows.add_trace("linux61-boot-1cpu")
    rows.know_seed_series("linux61-boot-1cpu", label={"base", "1-2"})
    code = await submit(http, [digest_of("linux61-boot-1cpu")])

    text = Page(await http.get(f"/batches/{code}")).text

    assert "2 of 5 runs finished" in text
    assert "So far, of 1 cell compared with the base: 1 identical." in text
    assert "96,185" in text


async def test_a_cancelled_batch_says_so(http, rows):
    rows.register_simulator()
    code = await submit(http, [rows.add_trace("boot")])
    await http.post(f"/api/v1/batches/{code}/cancel")

    text = Page(await http.get(f"/batches/{code}")).text

    assert "This batch is cancelled : 0 of 5 runs have a result." in text


async def test_an_integrity_alarm_comes_before_everything_else(http, rows, code):
    with transaction(rows.engine) as session:
        stored = next(
            iter(
                results.find_many(
                    session,
                    [digest_of("linux61-boot-1cpu")],
                    [_variant_of(await _batch(http, code), "1-6")],
                    [SIMULATOR],
                ).values()
            )
        )
        other = RunResult.from_dict(stored.body | {"page_digest": "other"})
        write_result(
            session,
            results.Outcome(stored.variant_digest, other),
            trace_digest=stored.trace_digest,
            simulator_digest=SIMULATOR,
            worker="worker",
        )

    text = Page(await http.get(f"/batches/{code}")).text

    assert "Patches 1-6 cannot be trusted on linux61-boot-1cpu" in text
    assert "Integrity alarm" in text


async def _batch(http, code):
    return (await http.get(f"/api/v1/batches/{code}")).json()


def _variant_of(batch, label):
    return next(c["variant"]["digest"] for c in batch["columns"] if c["label"] == label)


async def hostile_batch(http, rows):
    rows.register_simulator()
    digest = rows.add_trace(
        HOSTILE,
        header={
            "capture_tool": HOSTILE,
            "guest": {HOSTILE: HOSTILE},
            "slots": [{"slot": 0, "base_gfn": 16, "page_count": 512, "host_level": 1}],
        },
        events_by_kind={HOSTILE: 1},
    )
    code = await submit(http, [digest], {"name": HOSTILE, "patches": []}, "each")
    return digest, code


async def test_hostile_names_stay_text_on_every_page(http, rows):
    digest, code = await hostile_batch(http, rows)

    for path in ("/", f"/traces/{digest}", f"/batches/{code}", f"/traces/{HOSTILE}"):
        answer = await http.get(path)
        page = Page(answer)
        assert "<script>alert" not in answer.text, path
        assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)], path
        assert [tag for tag in page.all("img") if tag.get("src") == "x"] == [], path
        assert "49" not in page.text.partition("evil")[2][:20], path
    page = Page(await http.get(f"/traces/{digest}"))
    assert page.text.count("<script>alert(1)</script>") >= 4
    assert "2.0 MiB" in page.text


def keeps_to_the_policy(answer):
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    if answer.headers["content-type"].startswith("text/html"):
        page = Page(answer)
        assert page.all("style") == []
        assert not [a for _, a in page.tags if "style" in a]
        assert all("src" in script for script in page.all("script"))
        assert "//" not in answer.text
    return True


@pytest.mark.parametrize(
    "path", ["/batches", "/nothing", "/batches/b-none", "/static/style.css", "/problems/conflict"]
)
async def test_every_page_has_the_strict_policy_and_keeps_to_it(http, path):
    assert keeps_to_the_policy(await http.get(path))


async def test_the_batch_page_keeps_to_the_policy_while_it_runs_and_after(http, rows, code):
    running = await submit(http, [rows.add_trace("another")])

    for name in (code, running):
        assert keeps_to_the_policy(await http.get(f"/batches/{name}"))


async def test_an_empty_service_says_how_to_begin(http, rows):
    text = Page(await http.get("/")).text

    assert "No batches yet" in text
    assert "No traces yet" in text
    assert "refault push" in text


async def test_the_home_page_lists_batches_and_traces(http, code):
    page = Page(await http.get("/"))

    assert f"/batches/{code}" in {a["href"] for a in page.all("a")}
    assert f"/traces/{digest_of('linux61-boot-1cpu')}" in {a["href"] for a in page.all("a")}
    assert "10 / 10" in page.text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/nothing", 404, "Page not found"),
        ("/batches/b-none", 404, "no batch b-none"),
        ("/traces/nothing", 404, "no trace nothing"),
        ("/problems/nothing", 404, "no problem nothing"),
        ("/static/nothing.css", 404, "Page not found"),
        ("/batches?after=nonsense", 422, "cursor"),
    ],
)
async def test_what_is_not_there_is_a_page_that_says_so(http, path, status, words):
    answer = await http.get(path)

    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert words in Page(answer).text or words in path


async def test_a_base_that_is_not_there_is_a_page_that_says_so(http, code):
    for base, words in (
        ("9", "base column 9 does not exist"),
        ("x", "base must be a whole number"),
    ):
        answer = await http.get(f"/batches/{code}?base={base}")
        assert answer.status_code == 422
        assert words in Page(answer).text


async def test_without_a_database_the_page_says_what_is_missing(api_settings, rows):
    url = "postgresql://nobody@127.0.0.1:1/none"
    api = create_api(api_settings.model_copy(update={"database_url": url}))
    async with in_process(Site(api, create_pages(api)), "rft_any") as http:
        answer = await http.get("/")
    api.state.resources.close()

    assert answer.status_code == 503
    assert "is unreachable" in Page(answer).text


async def test_the_trace_page_shows_what_the_header_says(http, rows):
    digest = rows.add_trace("boot")

    text = Page(await http.get(f"/traces/{digest}")).text

    assert "64-bit guest, 1 vCPU" in text
    assert "Capture tool qemu plugin" in text
    assert "ACCESS 1,900,000 95.0 %" in text


async def test_columns_of_several_engines_say_of_which_each_is(http, rows):
    trace = rows.add_trace("boot")
    engines = {"shadow": SIMULATOR, "walk": digest_of("walk")}
    with transaction(rows.engine) as session:
        simulators.register(
            session, name="w", simulators=engines, semantics_version=1, host="h", pid=1
        )
    sets = [
        (await http.post("/api/v1/patch_sets", json={"name": base, "base": base, "patches": []}))
        .json()["id"]
        for base in ("v2.6.34-pre", "walk")
    ]  # fmt: skip
    body = {"traces": [trace], "patch_sets": sets, "plan": "each"}
    code = (await http.post("/api/v1/batches", json=body)).json()["code"]

    answer = await http.get(f"/batches/{code}")

    page = Page(answer)
    assert [tag.get("class") for tag in page.all("span")].count("engine") == 2
    assert "model" in page.texts
    # In the table of the trace, and in that of the columns.
    assert page.texts.count("architecture") == 2
    assert len(page.all("abbr")) == 0
    assert "Engine" in page.texts


async def test_one_engine_is_not_named(http, code):
    page = Page(await http.get(f"/batches/{code}"))

    assert "engine" not in [tag.get("class") for tag in page.all("span")]
    assert "Engine" not in page.texts


async def test_the_parts_of_a_page_ask_for_nothing_that_they_do_not_show(http, rows, monkeypatch):
    code = await submit(http, rows.ready_for_seed_series())

    async def must_not(*_, **__):
        pytest.fail("notes and links are no part that changes")

    monkeypatch.setattr(AsyncClient, "list_notes", must_not)
    monkeypatch.setattr(AsyncClient, "list_shares", must_not)

    assert (await http.get(f"/batches/{code}/parts")).status_code == 200


async def test_pages_that_grow_with_their_data_are_made_in_threads(http, rows, site, monkeypatch):
    """The event loop serves others meanwhile."""
    code = await submit(http, rows.ready_for_seed_series())
    [run, *_] = await runs_of(http, code)
    made = await http.post(
        "/api/v1/bundles", content=bundle_made(), headers={"content-type": "application/zip"}
    )
    loop, seen = threading.get_ident(), {}
    text_of = Pages.text

    def watched(pages, template, **values):
        seen[template] = threading.get_ident()
        return text_of(pages, template, **values)

    monkeypatch.setattr(Pages, "text", watched)
    for path in (
        f"/batches/{code}",
        f"/batches/{code}/parts",
        f"/runs/{run['id']}",
        f"/compare?column={code}:0&column={code}:1",
        f"/bundles/{made.json()['id']}",
        "/batches/new",
        "/help/api",
    ):
        assert (await http.get(path)).status_code == 200, path

    assert {"run.html", "compare.html", "bundle.html", "batch.html", "submit.html"} <= set(seen)
    assert loop not in seen.values()
