"""The address of a share link is its secret: it is in no line, no entry and no header of ours."""

import io
import json
import logging

import httpx
import pytest
import sqlalchemy as sa

from db import secrets
from db import session as sessions
from db.models import AuditEntry
from services.shared import logs
from tests.api.test_access_table import batch_of
from tests.fixtures.api import in_process
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio


@pytest.fixture
def lines():
    """What the whole process logs, as it is written."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines("api"))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture
async def link(http, rows):
    code = await batch_of(http, rows)
    return (await http.post(f"/api/v1/batches/{code}/shares", json={})).json()


async def test_no_line_holds_the_secret_of_a_link_or_a_token(
    site, rows, http, stranger, link, token, lines
):
    secret = link["path"].removeprefix("/s/")
    for path in (
        link["path"], f"{link['path']}.txt", f"{link['path']}.nothing", f"{link['path']}/x",
        f"/s/{token}", f"{link['path']}?base=99", f"/nowhere/{secret}", f"/s/x{secret}",
        f"/s/{secret.replace('_', '%5F')}", f"/traces/{secret}",
    ):  # fmt: skip
        await stranger.get(path, headers={"referer": f"http://refault.test{link['path']}"})
    async with in_process(site, secret) as reader:
        await reader.get(f"/api/v1/traces/{secret}")
        await reader.post(f"/api/v1/batches/{secret}/cancel")
    assert (await http.delete(f"/api/v1/shares/{link['id']}")).status_code == 204
    assert (await stranger.get(link["path"])).status_code == 404

    text = lines.getvalue()
    assert "/s/rfs_..." in text
    for each in (secret, token):
        assert each[4:] not in text
    with sessions.transaction(rows.engine) as opened:
        entries = opened.scalars(sa.select(sa.cast(AuditEntry.detail, sa.Text))).all()
        subjects = opened.scalars(sa.select(AuditEntry.subject)).all()
    assert secret[4:] not in str([*entries, *subjects])


async def test_a_shared_page_tells_nobody_where_it_is_and_is_kept_nowhere(stranger, link, rows):
    for path in (link["path"], f"{link['path']}.csv", "/s/rfs_x"):
        answer = await stranger.get(path)
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
    # Pages with forms say to ourselves where they are from.
    assert (await stranger.get("/login")).headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("kind", ["rft_", "rfl_", "rfs_", "rfo_", "rfd_", "whsec_"])
def test_every_kind_of_secret_is_cut_out_of_a_line_wherever_it_stands(kind):
    secret = kind + "Ab-_" * 10
    formatter = logs.JsonLines("api")
    record = logging.LogRecord("a", 20, __file__, 1, "GET /s/%s: 200", (secret,), None)
    record.fields = {"path": f"/x?token={secret}&y=1", "list": [secret]}
    record.exc_info = (ValueError, ValueError(f"bad {secret}"), None)
    line = formatter.format(record)
    assert "Ab-_" not in line
    assert json.loads(line)["message"] == f"GET /s/{kind}...: 200"


@pytest.mark.parametrize("text", ["rft_", "rfs_x", "b-7k3f", "perf_counter_of_everything", "rfx"])
def test_what_is_no_secret_stays_in_a_line(text):
    assert secrets.hidden(text) == text


def test_a_server_writes_no_share_link_to_its_log(server):
    httpx.get(f"{server.address}/s/rfs_{'A' * 43}", trust_env=False, timeout=PATIENCE_SECONDS)
    httpx.get(f"{server.address}/s/rfs%5F{'A' * 43}.txt", trust_env=False, timeout=PATIENCE_SECONDS)
    server.stop()
    text = server.log.read_text()
    assert "/s/rfs_..." in text
    assert "AAAA" not in text
