"""Pictures of every page into docs/screenshots, wide and narrow, light and dark: ``make pictures``.

The pages are those of a service with the demo's guests, found by following links. One picture per
route: names are the routes', so that a new page has a picture without being named here. Questions
have one for each kind, as their answers are drawn differently.
"""

from __future__ import annotations

import base64
import contextlib
import re
import sys
import tempfile
from pathlib import Path

from refault.client import Client
from services.local.stack import Stack
from tests.browser.showroom import (
    Visit,
    furnish,
    furnish_kernel,
    logged_in,
    pages_of_questions,
    telling_pages,
)
from tests.fixtures.browser import CHROMIUM, FLAGS, log_in

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
WIDTHS = {"wide": 1280, "narrow": 390}
SCHEMES = ("light", "dark")
# A picture shows the beginning of a long page.
HEIGHT_MAX = 2400
QUALITY = 60


def main(folder: Path = FOLDER) -> None:
    """Makes all pictures anew; those of pages that are gone go."""
    # Only this verb needs it, and it needs a browser.
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with contextlib.ExitStack() as held:
        data = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="refault-pictures-")))
        stack = held.enter_context(Stack(data))
        for step in stack.start():
            print(step)
        with Client(stack.url, token=stack.token) as client:
            print("filling it: guests, batches, audits, questions")
            furnish(client)
            telling = pages_of_questions(client) | telling_pages(client)
        furnish_kernel(stack)
        account = stack.access
        with logged_in(stack.url, account.user, account.password) as http:
            found = Visit(http).by_route
        pages = {name_of(route): path for route, (path, *_) in found.items()} | telling
        browser = held.enter_context(sync_playwright()).chromium.launch(
            executable_path=CHROMIUM, args=FLAGS
        )
        held.callback(browser.close)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.webp"):
            old.unlink()
        for kind, width in WIDTHS.items():
            for scheme in SCHEMES:
                context = browser.new_context(
                    viewport={"width": width, "height": 900}, color_scheme=scheme
                )
                page = log_in(context, stack.url, account.password, name=account.user)
                for shown, path in sorted(pages.items()):
                    page.goto(f"{stack.url}{path}", wait_until="networkidle")
                    name = f"{shown}-{kind}-{scheme}.webp"
                    (folder / name).write_bytes(picture(page, width))
                    print(name)
                context.close()


def name_of(route: str) -> str:
    """A file's name for a route: ``/batches/{batch}`` is ``batches-batch``."""
    return re.sub(r"[^a-z]+", "-", route.replace(":path", "")).strip("-") or "home"


def picture(page, width: int) -> bytes:
    """The page from its top, as a small file: Chromium writes WebP only when asked directly."""
    height = page.evaluate("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, HEIGHT_MAX), "scale": 1}
    asked = {"format": "webp", "quality": QUALITY, "clip": clip, "captureBeyondViewport": True}
    shown = page.context.new_cdp_session(page).send("Page.captureScreenshot", asked)
    return base64.b64decode(shown["data"])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
