"""A service of kernels as a client sees one: trees in parts, and builds that go on when asked."""

import base64
import hashlib
import json
from urllib.parse import parse_qs

import httpx

from tests.builders import digest_of

UNITS = 40


def build(patches, state="built", **changed):
    """The document of a build."""
    name = "mine" + {0: "", 1: "+" + "".join(map(str, patches))}.get(
        len(patches), f"+1..{len(patches)}"
    )
    is_built = state == "built"
    digest = digest_of(name)
    return {
        "id": digest_of(f"id {name}")[:32],
        "patches": list(patches),
        "name": name,
        "state": state,
        "digest": digest if is_built else None,
        "variant": digest_of(f"variant {name}") if is_built else None,
        "text": f"kernel:{digest}" if is_built else None,
        "compiler": "gcc (Debian 14.2.0) 14.2.0" if is_built else None,
        "changes_nothing": False if is_built and patches else None,
        "check": None if patches or not is_built else "3 of 3 accesses as on the real guests",
        "missing": ["missing_function"] if is_built else [],
        "program_bytes": 3_000_000 if is_built else None,
        "refusal": "patch 'break it' does not apply at mmu.c:7" if state == "refused" else None,
        "error": "a worker was lost" if state == "failed" else None,
        "units_done": UNITS if is_built else 0,
        "units_total": UNITS if is_built else 0,
        "attempt": 1,
        "worker": None,
        "created_at": "2026-11-30T02:00:00Z",
        "started_at": None,
        "finished_at": None,
    } | changed


def kernel(builds, **changed):
    """The document of a kernel."""
    count = max((max(entry["patches"], default=0) for entry in builds), default=0)
    return {
        "id": "01234567-89ab-7def-8123-456789abcdef",
        "name": "mine",
        "base": "kernel:mine",
        "release": "6.12.117",
        "tree": digest_of("tree"),
        "tree_bytes": 1_600_000,
        "made_by": "user anna",
        "sanitize": False,
        "state": "done",
        "patches": [
            {
                "number": number,
                "title": f"KVM: patch {number}",
                "author": "A <a@x>",
                "files": ["arch/x86/kvm/mmu/mmu.c"],
            }
            for number in range(1, count + 1)
        ],
        "builds": builds,
        "created_at": "2026-11-30T02:00:00Z",
    } | changed


class KernelService:
    """Answers what a client asks of kernels; ``steps`` are polled in turn."""

    def __init__(self, steps=()):
        self.steps = list(steps) or [kernel([build(())])]
        self.trees = set()
        self.made = []
        self.seen = []
        self.partial = b""
        self.words = {}

    def __call__(self, request):  # noqa: PLR0911 - one a route
        method, path = request.method, request.url.path.removeprefix("/api/v1")
        query = {key: value[0] for key, value in parse_qs(request.url.query.decode()).items()}
        self.seen.append((method, path))
        match method, path.strip("/").split("/"):
            case "POST", ["kernels"]:
                return self._make(query, request)
            case "GET", ["kernels"]:
                return answer({"items": [self.steps[-1]], "next_cursor": None})
            case "GET", ["kernels", _]:
                return answer(self.steps.pop(0) if len(self.steps) > 1 else self.steps[0])
            case "GET", ["kernels", _, "patches", number]:
                return httpx.Response(200, text=f"diff {number}")
            case "POST", ["kernels", _, "builds"]:
                self.made.append(json.loads(request.read()))
                return answer(self.steps[0], 202)
            case "DELETE", ["kernels", _]:
                return httpx.Response(204)
            case "GET", ["uploads"]:
                return answer({"items": [], "next_cursor": None})
            case "POST", ["uploads"]:
                words = [pair.split(" ") for pair in request.headers["upload-metadata"].split(",")]
                self.words = {key: base64.b64decode(value).decode() for key, value in words}
                return httpx.Response(201, headers={"location": "/api/v1/uploads/u"})
            case "PATCH", ["uploads", "u"]:
                return self._take(request)
        raise AssertionError((method, path))

    def _make(self, query, request):
        if query["tree"] not in self.trees:
            return problem(404, f"no tree {query['tree'][:12]} in this project")
        kind = request.headers["content-type"]
        self.made.append(query | {"mails": request.read(), "kind": kind})
        return answer(self.steps[0], 201)

    def _take(self, request):
        self.partial += request.read()
        digest = hashlib.sha256(self.partial).hexdigest()
        if not self.partial.startswith(b"\xfd7zXZ"):
            return problem(422, "no .tar.xz of a tree: make one with refault kernel pack")
        self.trees.add(digest)
        headers = {"refault-tree": digest, "upload-offset": str(len(self.partial))}
        return httpx.Response(204, headers=headers)


def answer(body, status=200):
    return httpx.Response(status, json=body)


def problem(status, detail):
    body = json.dumps({"status": status, "detail": detail})
    return httpx.Response(
        status, content=body, headers={"content-type": "application/problem+json"}
    )
