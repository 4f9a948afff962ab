"""A project with one of everything, and what may not be seen of it elsewhere."""

import dataclasses

from db import session
from db.models import FIRST_PROJECT
from db.repositories import credentials, documents
from tests.api.test_resumable import PART, UPLOADS, metadata
from tests.builders import make_run_documents
from tests.fixtures.api import SIMULATOR, Rows, in_process, runs_of, trace_bytes
from tests.fixtures.kernels import mails, pack

TRACE = "confidential-boot"
SERIES = "unpublished-series"
KERNEL = "unpublished-kernel"
PATCH = "unpublished patch"
NAMES = (TRACE, SERIES, KERNEL, PATCH, "member-of-first", "token-of-first")


@dataclasses.dataclass(frozen=True)
class Owned:
    """Ids of the first project, by the names they have in addresses."""

    ids: dict[str, str]


async def fill(site, rows: Rows) -> Owned:
    """One trace with its bytes, a finished batch, its run, a kernel, a share link and a token."""
    rows.register_simulator()
    rows.add_user("member-of-first", "viewer")
    async with in_process(site, rows.mint_token()) as http:
        trace = (
            await http.post("/api/v1/traces", params={"name": TRACE}, content=trace_bytes())
        ).json()
        # Its run under the base has a result, and so may show its documents.
        rows.know_base(trace["digest"])
        patch_set = (
            await http.post("/api/v1/patch_sets", json={"name": SERIES, "patches": ["zap-account"]})
        ).json()
        body = {"traces": [trace["digest"]], "patch_sets": [patch_set["id"]], "plan": "series"}
        batch = (await http.post("/api/v1/batches", json=body)).json()
        # Over, so that its events end.
        batch = (await http.post(f"/api/v1/batches/{batch['code']}/cancel")).json()
        runs = await runs_of(http, batch["code"])
        packed = pack()
        said = {"upload-length": str(len(packed)), "upload-metadata": metadata(content="tree")}
        tree = (await http.post(UPLOADS, headers=PART | said, content=packed)).headers
        named = {"name": KERNEL, "tree": tree["refault-tree"]}
        await http.post("/api/v1/kernels", params=named, content=mails(f"KVM: {PATCH}"))
        share = (await http.post(f"/api/v1/batches/{batch['code']}/shares", json={})).json()
    with session.transaction(rows.engine, FIRST_PROJECT) as opened:
        digests = (trace["digest"], runs[0]["variant"]["digest"], SIMULATOR)
        documents.write(opened, make_run_documents(*digests))
        token, _ = credentials.mint_token(opened, "token-of-first", scopes=["read"])
    return Owned(
        {
            "trace": trace["id"],
            "digest": trace["digest"],
            "blob": trace["digest"],
            "patch_set": patch_set["id"],
            "batch": batch["code"],
            "run": runs[0]["id"],
            "share": share["id"],
            "token": str(token.id),
            "user": "member-of-first",
            "patch": "zap-account",
            "form": "json",
            "name": "not-found",
            "kernel": KERNEL,
            "number": "1",
            "project": "main",
        }
    )
