"""The pages in a real Chromium, from a server in a process of its own."""

from contextlib import ExitStack

import httpx
import pytest

from tests.api.test_batch_life import fail_what_waits
from tests.fixtures.api import PASSWORD, SERIES, bearer
from tests.fixtures.browser import CONTRAST, PICTURES, Watched, log_in, needs_chromium
from tests.patience import PATIENCE_SECONDS

pytestmark = needs_chromium


@pytest.fixture
def http(live, token):
    with httpx.Client(
        base_url=live, headers=bearer(token), trust_env=False, timeout=PATIENCE_SECONDS
    ) as client:
        yield client


def submit(http, digests):
    row = http.post("/api/v1/patch_sets", json=SERIES).json()
    body = {"traces": digests, "patch_sets": [row["id"]], "plan": "series"}
    return http.post("/api/v1/batches", json=body).json()["code"]


@pytest.fixture
def comparison(live, http, rows):
    return f"{live}/batches/{submit(http, rows.ready_for_seed_series())}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("has_script", [True, False])
def test_the_comparison_shows_whole_and_quietly(open_page, comparison, scheme, has_script):
    seen = open_page(color_scheme=scheme, java_script_enabled=has_script)
    seen.page.goto(comparison, wait_until="networkidle")

    assert seen.page.get_by_role("heading", level=1).inner_text() == SERIES["name"]
    assert "the guest sees 64 wrong accesses" in seen.page.locator("#verdict").inner_text()
    for picture in seen.page.locator("figure img").all():
        assert picture.bounding_box()["height"] > 100
        if has_script:
            assert picture.evaluate("image => image.currentSrc").endswith(f"theme={scheme}")
    PICTURES.mkdir(parents=True, exist_ok=True)
    if has_script:
        seen.page.screenshot(path=PICTURES / f"comparison-{scheme}.png", full_page=True)
    assert seen.was_quiet()


def test_the_first_column_stays_while_the_numbers_scroll(open_page, comparison):
    seen = open_page(viewport={"width": 420, "height": 800})
    seen.page.goto(comparison)
    scroll = seen.page.locator(".scroll").nth(1)
    head = scroll.locator("tbody th[scope=row]").first
    before = head.bounding_box()

    scroll.evaluate("box => { box.scrollLeft = 300; }")

    assert scroll.evaluate("box => box.scrollLeft") > 100
    assert head.bounding_box() == before
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 420


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(open_page, comparison, scheme):
    seen = open_page(color_scheme=scheme)
    seen.page.goto(comparison, wait_until="networkidle")

    faint = seen.page.evaluate(CONTRAST)

    assert faint == []


def test_all_links_and_tables_are_reached_by_keyboard(open_page, comparison):
    seen = open_page()
    seen.page.goto(comparison)
    reached = []
    for _ in range(90):
        seen.page.keyboard.press("Tab")
        reached.append(
            seen.page.evaluate(
                "document.activeElement.getAttribute('href') || document.activeElement.className"
            )
        )

    assert reached[0] == "#content"
    assert sum(str(place).startswith("scroll") for place in reached) >= 3
    assert any(str(place).endswith(".csv") for place in reached)


def test_a_watched_batch_ends_as_a_comparison_by_itself(open_page, live, http, rows):
    rows.register_simulator()
    code = submit(http, [rows.add_trace("boot")])
    seen = open_page()
    seen.page.goto(f"{live}/batches/{code}")
    assert "0 of 5 runs finished" in seen.page.locator("[data-runs]").inner_text()

    http.post(f"/api/v1/batches/{code}/cancel")

    seen.page.get_by_text("This batch is cancelled").wait_for()
    assert seen.page.locator("progress").count() == 0
    assert seen.was_quiet()


def test_a_page_that_gets_no_stream_of_events_reloads_itself(open_page, live, http, rows):
    rows.register_simulator()
    code = submit(http, [rows.add_trace("boot")])
    seen = open_page()
    events = f"{live}/api/v1/batches/{code}/events"
    cookies = {cookie["name"]: cookie["value"] for cookie in seen.page.context.cookies()}
    with ExitStack() as streams:
        others = streams.enter_context(httpx.Client(cookies=cookies, trust_env=False))
        while streams.enter_context(others.stream("GET", events)).is_success:
            pass  # until this login watches as many streams as it may
        seen.page.goto(f"{live}/batches/{code}")
        http.post(f"/api/v1/batches/{code}/cancel")

        seen.page.get_by_text("This batch is cancelled").wait_for()


def test_a_running_batch_reloads_itself_without_script(open_page, live, http, rows):
    rows.register_simulator()
    code = submit(http, [rows.add_trace("boot")])
    seen = open_page(java_script_enabled=False)
    seen.page.goto(f"{live}/batches/{code}")
    http.post(f"/api/v1/batches/{code}/cancel")

    seen.page.get_by_text("This batch is cancelled").wait_for()

    assert seen.was_quiet()


def test_the_way_from_the_home_page_to_a_trace_and_back(open_page, comparison, live):
    seen = open_page()
    seen.page.goto(live)
    seen.page.locator("#batches tbody a").first.click()
    seen.page.wait_for_url("**/batches/*")
    seen.page.locator(".meta a.digest").first.click()
    seen.page.wait_for_url("**/traces/*")

    assert seen.page.get_by_role("heading", level=1).inner_text() == "linux61-workload-1cpu"
    seen.page.get_by_role("link", name="refault").click()
    assert seen.page.get_by_role("heading", name="Batches").is_visible()
    assert seen.was_quiet()


def test_one_logs_in_is_led_on_and_logs_out_again(chromium, open_page, live):
    context = chromium.new_context()
    page = log_in(context, live, "wrong by far")
    assert "wrong name or password" in page.get_by_role("alert").inner_text()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/batches/b-none")
    page.goto(live)
    assert "anna" in page.locator(".who").inner_text()
    assert page.evaluate("document.cookie") == ""

    page.get_by_role("button", name="Log out").click()

    page.wait_for_url("**/login")
    page.goto(live)
    assert page.get_by_role("heading", level=1).inner_text() == "Log in"
    context.close()


def test_a_form_of_another_site_logs_nobody_out(chromium, open_page, live):
    context = chromium.new_context()
    page = log_in(context, live)
    page.goto(live)
    key = page.locator("input[name=form_key]").first.get_attribute("value")
    form = f"<form method=post action={live}/logout><input name=form_key value={key}></form>"
    other = context.new_page()
    other.set_content(form)
    with other.expect_navigation():
        other.evaluate("document.forms[0].submit()")

    assert "403" in other.locator("body").inner_text()
    page.goto(live)
    assert page.locator(".who").count() == 1
    context.close()


def test_a_link_is_made_copied_opened_by_a_stranger_and_revoked(chromium, open_page, comparison):
    seen = open_page(permissions=["clipboard-read", "clipboard-write"])
    seen.page.goto(comparison)
    seen.page.get_by_label("Lifetime").select_option("7 days")
    seen.page.get_by_role("button", name="Make a link").click()
    seen.page.get_by_role("button", name="Copy").click()
    seen.page.get_by_text("Copied").wait_for()
    link = seen.page.evaluate("navigator.clipboard.readText()")
    assert link == seen.page.get_by_label("Link", exact=True).input_value()

    context = chromium.new_context()
    stranger = Watched(context)
    stranger.page.goto(link)
    assert stranger.page.get_by_role("heading", level=1).inner_text() == SERIES["name"]
    assert stranger.page.locator("form:not([method=get])").count() == 0
    assert stranger.was_quiet()

    seen.page.goto(comparison)
    seen.page.get_by_role("button", name="Revoke").click()
    seen.page.wait_for_url("**#sharing")
    assert seen.page.get_by_role("button", name="Revoke").count() == 0
    assert seen.was_quiet()
    assert stranger.page.goto(link).status == 404
    context.close()


def test_a_link_can_be_made_without_script(open_page, comparison):
    seen = open_page(java_script_enabled=False)
    seen.page.goto(comparison)
    seen.page.get_by_role("button", name="Make a link").click()

    assert "/s/rfs_" in seen.page.get_by_label("Link", exact=True).input_value()
    assert not seen.page.locator("[data-copy]").is_visible()
    assert seen.was_quiet()


def test_a_batch_is_cancelled_and_resumed_with_buttons(open_page, live, http, rows):
    rows.register_simulator()
    code = submit(http, [rows.add_trace("boot")])
    seen = open_page()
    seen.page.goto(f"{live}/batches/{code}")
    seen.page.get_by_role("button", name="Cancel this batch").click()
    seen.page.get_by_role("button", name="Resume this batch").click()

    seen.page.get_by_role("button", name="Cancel this batch").wait_for()
    assert http.get(f"/api/v1/batches/{code}").json()["state"] == "queued"
    assert seen.was_quiet()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_page_is_wider_than_its_screen(open_page, live, http, rows, comparison, width):
    """Long labels once pushed a phone's page to one and a half times its width."""
    long_name = "a-trace-with-a-long-name-" * 8
    trace = rows.add_trace(long_name)
    rows.know_base(trace)
    row = http.post("/api/v1/patch_sets", json={"name": "w" * 90, "patches": []}).json()
    axes = {"page_limit": [4314, 4315], "bypass": [0, 1]}
    body = {"traces": [trace], "patch_sets": [row["id"]], "plan": "matrix", "axes": axes}
    long_labels = http.post("/api/v1/batches", json=body).json()["code"]
    seen = open_page(viewport={"width": width, "height": 844})
    for path in ("/", f"/traces/{trace}", f"/batches/{long_labels}", "/problems/conflict"):
        seen.page.goto(f"{live}{path}")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width, path
    seen.page.goto(comparison)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    if width < 640:
        # What a table is about is read without scrolling it.
        widths = [caption.bounding_box() for caption in seen.page.locator("caption:visible").all()]
        assert max(box["width"] for box in widths) <= width


def test_the_legend_of_a_wide_matrix_follows_its_cells(open_page, live, http, rows):
    """A sign that a cell gets while one watches is explained below the matrix."""
    rows.register_simulator()
    trace = rows.add_trace("boot")
    row = http.post("/api/v1/patch_sets", json={"name": "one", "patches": []}).json()
    axes = {"page_limit": [4_314 + place for place in range(9)]}
    body = {"traces": [trace], "patch_sets": [row["id"]], "plan": "matrix", "axes": axes}
    code = http.post("/api/v1/batches", json=body).json()["code"]
    seen = open_page()
    seen.page.goto(f"{live}/batches/{code}")
    legend = seen.page.locator("[data-part=overview] .legend")
    assert "Crashed" not in legend.inner_text()

    # As the page would be after a cell has changed.
    changed = seen.page.evaluate(
        """address => fetch(address).then(answer => answer.text())""",
        f"{live}/batches/{code}/parts",
    )
    other = changed.replace("No result", "Crashed")
    seen.page.route("**/parts*", lambda route: route.fulfill(body=other, content_type="text/html"))
    http.post(f"/api/v1/batches/{code}/cancel")

    legend.get_by_text("Crashed").wait_for()
    assert seen.page.locator("[data-part=overview] tbody").get_by_title("Crashed").count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_failed_cell_is_read_and_run_again_where_it_stands(open_page, live, http, rows, scheme):
    """A base that failed once stood white on white in the matrix."""
    rows.register_simulator()
    row = http.post("/api/v1/patch_sets", json={"name": "one", "patches": ["zap-account"]}).json()
    traces = [rows.add_trace("boot"), rows.add_trace("idle")]
    body = {"traces": traces, "patch_sets": [row["id"]], "plan": "series"}
    code = http.post("/api/v1/batches", json=body).json()["code"]
    fail_what_waits(rows)
    seen = open_page(color_scheme=scheme)
    seen.page.goto(f"{live}/batches/{code}", wait_until="networkidle")
    assert seen.page.evaluate(CONTRAST) == []
    base = seen.page.locator("[data-part=overview] td.alarm").first
    assert base.evaluate("cell => cell.cellIndex") == 1
    base.locator("a").click()
    assert seen.page.evaluate("document.querySelector('.who :target').innerText") == "base"

    seen.page.get_by_role("button", name="Run base on boot again").click()

    seen.page.get_by_role("button", name="Run 1 on boot again").wait_for()
    assert seen.page.get_by_role("button", name="Run base on boot again").count() == 0
    states = {run["state"] for run in http.get(f"/api/v1/batches/{code}/runs").json()["items"]}
    assert states == {"queued", "failed"}
    assert seen.was_quiet()
