"""A service with something on every page, and the way through all of its pages by their links.

::

    furnish_kernel()  a kernel of one's own, built
    furnish(client)   guests, batches of every plan, audits, questions: computed by real workers
    Visit(...)        from the home page along every link: each page once, by its route
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections import deque
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
from starlette.routing import Match

from db.blobs import open_store
from refault.audits import Level
from refault.catalogue import SEED_SERIES, bases, patch_set_from_text
from refault.client import Client
from refault.questions import Between, Question, Where
from services.dashboard.app import create_pages
from services.local.demo import SERIES_NAME
from tests.fixtures.kernels import built_kernel
from tests.fixtures.stack import DEMO_TRACES
from tests.patience import PATIENCE_SECONDS

BOOT, WORKLOAD = "linux61-boot-1cpu", "linux61-workload-1cpu"
# The page of another site, and files: nothing to look at.
_PAGE = "text/html"
_PAGES_MAX = 400
_ALIKE_MAX = 3


def furnish(client: Client, files=None) -> None:
    """Fills a service whose workers run; returns once everything is computed.

    The broken patch 3 beside its repair, every plan, an audit that fails, a divergence that is
    found, and a place to look at: what a page can show, some row has.
    """
    base = bases()[0].id
    paths = files or [DEMO_TRACES / f"{name}.rft" for name in (BOOT, WORKLOAD)]
    digests = [client.upload_trace(path, name=path.stem).trace["digest"] for path in paths]
    series = client.create_patch_set(SERIES_NAME, base=base, patches=list(SEED_SERIES))
    sets = [
        client.create_patch_set(name, base=base, patches=list(patch_set_from_text(name).patches))
        for name in ("base", "p3", "p3fix")
    ]
    axes = {"page_limit": [512, 4096], "bypass": [0, 1]}
    batches = [
        client.submit_batch(digests, [series["id"]], plan="series", audit="flush"),
        client.submit_batch(digests, [each["id"] for each in sets], audit="flush"),
        client.submit_batch(digests[-1:], [series["id"]], plan="ablation"),
        client.submit_batch(digests[-1:], [sets[0]["id"]], plan="matrix", axes=axes),
    ]
    asked = [
        client.ask(Question(Between()), digests[0], "base", "p3"),
        client.ask(Question(Where(operation=1_302_745, gva=0x7FC8AA720000)), digests[0], "p3"),
        client.ask(Question(Level("flush")), digests[-1], "p3"),
    ]
    for batch in batches:
        for _ in client.watch_batch(batch["code"]):
            pass
        client.wait_for_audits(batch["code"])
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle.zip"
        client.save_bundle(batches[0]["code"], bundle)
        client.import_bundle(bundle.read_bytes())
    for question in asked:
        client.wait_for_question(question["id"])


def furnish_kernel(stack) -> None:
    """A kernel of one's own with its builds, as a worker with a compiler would leave it.

    The worker of a showroom has none, and its service builds none.
    """
    built_kernel(stack.engine, open_store(str(stack.folder.path("blobs"))))


def pages_of_questions(client: Client) -> dict[str, str]:
    """The page of one answered question of each kind, by a name for its picture."""
    found = {}
    for kind in ("audit", "divergence", "inspection", "verification"):
        done = [each for each in client.list_questions(kind=kind)["items"] if not each["error"]]
        found |= {f"questions-{kind}": f"/questions/{each['id']}" for each in done[:1]}
    return found


def telling_pages(client: Client) -> dict[str, str]:
    """Pages that show more than those which the links reach first, by a name for the picture.

    The batch of the series, and patch 3 beside its repair with the whole series from another batch.
    """
    codes = {batch["plan"]: batch["code"] for batch in client.list_batches()["items"]}
    names = [f"{codes['each']}:{index}" for index in range(3)] + [f"{codes['series']}:5"]
    return {
        "batches-batch": f"/batches/{codes['series']}",
        "compare": "/compare?" + "&".join(f"column={name}" for name in names),
    }


class _Links(HTMLParser):
    """The addresses a page leads to: links, pictures, scripts, style sheets."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:  # noqa: ARG002 - the name of the library
        given = dict(attrs)
        for name in ("href", "src"):
            if given.get(name):
                self.found.append(given[name])
        if given.get("srcset"):
            self.found.append(given["srcset"].split()[0])


@dataclasses.dataclass(frozen=True)
class Answer:
    """One address: where it was found, its route (None: not a page's), and how it answered."""

    path: str
    found_on: str
    route: str | None
    status: int
    is_page: bool


class Visit:
    """Every address that can be reached from the home page by links, at most some of each kind.

    Addresses of one kind have the same route and the same names in their query: of a thousand
    cells three are opened.
    """

    def __init__(self, http: httpx.Client, *, start: str = "/") -> None:
        self.answers: list[Answer] = []
        self._http = http
        self._seen: dict[tuple, int] = {}
        self._pages = create_pages(None)
        self._walk(start)

    @property
    def by_route(self) -> dict[str, list[str]]:
        """The pages, by the template of their route."""
        found: dict[str, list[str]] = {}
        for answer in self.answers:
            if answer.is_page and answer.route is not None:
                found.setdefault(answer.route, []).append(answer.path)
        return found

    @property
    def broken(self) -> list[str]:
        """What a link leads to that is not there."""
        return [
            f"{answer.path} on {answer.found_on}: {answer.status}"
            for answer in self.answers
            if answer.status >= 400
        ]

    def _walk(self, start: str) -> None:
        waiting = deque([(start, "nowhere")])
        while waiting and len(self.answers) < _PAGES_MAX:
            path, found_on = waiting.popleft()
            answer = self._http.get(path)
            kind = answer.headers.get("content-type", "")
            is_page = kind.startswith(_PAGE)
            self.answers.append(
                Answer(path, found_on, route_of(self._pages, path), answer.status_code, is_page)
            )
            if not is_page or answer.is_error:
                continue
            links = _Links()
            links.feed(answer.text)
            for link in links.found:
                at = urlsplit(urljoin(str(answer.url), link))
                if at.netloc != answer.url.netloc.decode():
                    continue
                further = at.path + (f"?{at.query}" if at.query else "")
                if self._is_new(further):
                    waiting.append((further, path))

    def _is_new(self, path: str) -> bool:
        at = urlsplit(path)
        route = route_of(self._pages, path) or re.sub(r"[0-9a-f-]{12,}|b-[0-9a-z]+", "…", at.path)
        kind = (route, tuple(sorted(parse_qs(at.query))))
        if (path,) in self._seen or self._seen.get(kind, 0) >= _ALIKE_MAX:
            return False
        self._seen[(path,)] = 1
        self._seen[kind] = self._seen.get(kind, 0) + 1
        return True


def route_of(pages, path: str) -> str | None:
    """The template of the page's route at an address; None if it is none of the pages'."""
    scope = {"type": "http", "path": urlsplit(path).path, "method": "GET"}
    for route in pages.routes:
        if route.matches(scope)[0] is Match.FULL:
            return route.path
    return None


def page_routes() -> set[str]:
    """The templates of every page that is read."""
    return {
        route.path for route in create_pages(None).routes if "GET" in getattr(route, "methods", ())
    }


def logged_in(url: str, user: str, password: str) -> httpx.Client:
    """A browser without script that has logged in."""
    http = httpx.Client(
        base_url=url, trust_env=False, timeout=PATIENCE_SECONDS, follow_redirects=True
    )
    # Not sent with it: a client that has sent something cannot be entered any more.
    http.cookies = httpx.post(
        f"{url}/login", data={"name": user, "password": password}, trust_env=False
    ).cookies
    return http
