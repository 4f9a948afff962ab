"""The service in this process, over the database that ``fill.py`` filled, and who reads it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
from fill import open_database

from db import schema
from db.models import FIRST_PROJECT
from db.repositories import accounts
from db.session import create_engine, transaction
from refault.client.connection import SESSION_COOKIE
from services.api.app import create_app
from services.api.deps import Resources
from services.api.passwords import hashed
from services.api.settings import Settings
from services.api.site import Site
from services.local.first_account import FirstAccount

PASSWORD = "a password of this benchmark"  # noqa: S105  # of a scratch database


class Served(NamedTuple):
    """The site, what it holds on to, the first account's token, and the process of Postgres."""

    site: Site
    resources: Resources
    token: str
    postmaster: int


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Served]:
    """The service over the database in a folder, with a maintainer ``reader``."""
    data, server = open_database(folder)
    try:
        engine = create_engine(server.url())
        schema.upgrade(engine)
        engine.dispose()
        site = create_app(
            Settings(
                database_url=server.url(),
                broker_url="redis://127.0.0.1:1/0",
                blobs=folder / "blobs",
            )
        )
        resources = site.api.state.resources
        with transaction(resources.engine) as session:
            if accounts.find_user(session, "reader") is None:
                user = accounts.add_user(session, "reader", password_hash=hashed(PASSWORD))
                accounts.set_role(session, FIRST_PROJECT, user, "maintainer")
        token = FirstAccount.ensure(data, resources.engine).token
        yield Served(site, resources, token, server.process.pid)
        resources.close()
    finally:
        server.process.stop()
        data.close()


def client(site: Site) -> httpx.AsyncClient:
    """Asks the site in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://refault.test")


async def logged_in(site: Site) -> str:
    """The cookie of the reader."""
    async with client(site) as http:
        body = {"name": "reader", "password": PASSWORD}
        opened = (await http.post("/api/v1/sessions", json=body)).json()
    return f"{SESSION_COOKIE}={opened['secret']}"
