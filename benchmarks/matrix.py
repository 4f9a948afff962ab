"""A matrix of 200 × 40 cells in a browser: whether it stays fluid.

    python benchmarks/fill.py /tmp/scale --results 100000 && python benchmarks/matrix.py /tmp/scale

The page of the largest batch in Chromium, its requests answered over ASGI in this process. Told are
the elements of the matrix, the first paint after the page's bytes were there, and what the page's
main thread does while it is loaded, scrolled, walked through by keys, and while a run ends (one row
changes): its longest task by the clock, and its processor time a frame, a key and an update, which
other jobs on the machine do not lengthen as much. The yardstick is a task of 100 ms, which is felt.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from kit.served import client, logged_in, served
from playwright.async_api import Page, Route, async_playwright
from report import record

from db.session import transaction
from services.api.site import Site

GOAL_MS = 100
CHROMIUM, FLAGS = "/usr/bin/chromium", ["--no-sandbox"]
KEYS, FRAMES = 40, 60
OBSERVE = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) window.longest = Math.max(window.longest, each.duration);
}).observe({ type: "longtask", buffered: true });
"""
TAKE = "() => { const found = window.longest; window.longest = 0; return found; }"
STATE = "UPDATE batches SET state = :state, finished_at = NULL WHERE code = :code"
BACK = "UPDATE batches SET state = 'done', finished_at = now() WHERE code = :code"
FAIL = (
    "UPDATE runs SET state = 'failed', result_id = NULL, error = 'it broke' "
    "WHERE id = (SELECT id FROM runs WHERE "
    "batch_id = (SELECT id FROM batches WHERE code = :code) ORDER BY position DESC LIMIT 1)"
)
MEND = (
    "UPDATE runs SET state = 'cached', error = NULL, result_id = (SELECT other.result_id FROM "
    "runs AS other WHERE other.result_id IS NOT NULL AND other.trace_id = runs.trace_id AND "
    "other.variant_digest = runs.variant_digest LIMIT 1) WHERE state = 'failed'"
)
# Chromium tells of a long task after it, with the next idle moment.
SETTLE_MS = 700


async def answered(route: Route, http: httpx.AsyncClient, events: list[str]) -> None:
    """A request of the browser, answered by the site; events are those of ``events``."""
    request = route.request
    if request.url.endswith("/events"):
        body = "".join(events)
        await route.fulfill(body=body, content_type="text/event-stream")
        return
    path = request.url.partition("//")[2].partition("/")[2]
    answer = await http.get(f"/{path}")
    kind = answer.headers.get("content-type", "text/plain")
    await route.fulfill(status=answer.status_code, body=answer.content, content_type=kind)


async def measured(page: Page, code: str, engine: sa.Engine) -> dict[str, float]:
    """The longest task of each thing that is done, and what the page is made of."""
    found: dict[str, float] = {}

    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable", {"timeDomain": "threadTicks"})
    spent = 0.0

    async def told(name: str, count: int = 1) -> None:
        nonlocal spent
        await page.wait_for_timeout(SETTLE_MS)
        found[f"{name}_longest"] = await page.evaluate(TAKE)
        metrics = (await session.send("Performance.getMetrics"))["metrics"]
        now = next(each["value"] for each in metrics if each["name"] == "TaskDuration")
        found[f"{name}_processor"] = (now - spent) * 1000 / count
        spent = now

    await page.goto(f"http://refault.test/batches/{code}", wait_until="load")
    await told("load")
    found["paint"] = await page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        " - performance.getEntriesByType('navigation')[0].responseEnd"
    )
    count = "document.querySelectorAll('.matrix *').length"
    found["elements"] = await page.evaluate(count)
    await page.evaluate(
        """async () => {
          const box = document.querySelector('.matrix').parentElement;
          for (let place = 0; place < FRAMES; place++) {
            box.scrollBy(40, 120);
            await new Promise((done) => requestAnimationFrame(done));
          }
        }""".replace("FRAMES", str(FRAMES))
    )
    await told("scroll", FRAMES)
    await page.locator(".matrix td a").first.focus()
    for key in ("ArrowDown", "ArrowRight"):
        for _ in range(KEYS):
            await page.keyboard.press(key)
    await told("keys", 2 * KEYS)
    await page.evaluate(
        """() => {
          window.changed = 0;
          new MutationObserver((all) => {
            for (const each of all) window.changed += each.addedNodes.length;
          }).observe(document.querySelector('.matrix tbody'), { childList: true, subtree: true });
        }"""
    )
    with engine.begin() as connection:
        connection.execute(sa.text(FAIL), {"code": code})
    async with page.expect_response("**/parts*") as coming:
        await page.evaluate("document.dispatchEvent(new Event('refault:whole'))")
    found["bytes"] = len(await (await coming.value).body())
    await told("update")
    found["changed"] = await page.evaluate("window.changed")
    return found


async def browse(site: Site, engine: sa.Engine, code: str) -> dict[str, float]:
    """The page in a browser of its own."""
    cookie = await logged_in(site)
    async with client(site) as http, async_playwright() as play:
        http.headers["cookie"] = cookie
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page()
        # The machine may be busy.
        page.set_default_timeout(300_000)
        await page.add_init_script(OBSERVE)
        events: list[str] = []

        async def answer(route: Route) -> None:
            await answered(route, http, events)

        await page.route("**/*", answer)
        found = await measured(page, code, engine)
        await browser.close()
    return found


def keep(found: dict[str, Any]) -> None:
    """Print and record."""
    for name, value in found.items():
        print(f"{name}: {value:.1f}")
    longest = max(found[f"{name}_processor"] for name in ("scroll", "keys", "update"))
    record(
        "matrix_fluid",
        ratio=longest / GOAL_MS,
        what="processor time of a frame, a key or an update, whichever takes most, of a page of "
        "200 × 40 cells, over the goal",
        ours=found,
        theirs={"goal_ms": GOAL_MS},
    )


def main() -> int:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    with served(options.folder) as (site, resources, _, _):
        with transaction(resources.engine) as session:
            query = sa.text("SELECT code FROM batches ORDER BY id DESC LIMIT 1")
            code = str(session.scalar(query))
            session.execute(sa.text(STATE), {"state": "running", "code": code})
        try:
            keep(asyncio.run(browse(site, resources.engine, code)))
        finally:
            with transaction(resources.engine) as session:
                session.execute(sa.text(BACK), {"code": code})
                session.execute(sa.text(MEND))
    return 0


if __name__ == "__main__":
    sys.exit(main())
