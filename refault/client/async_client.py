"""``AsyncClient``: adds access to an application of this process, which ``Client`` cannot have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from refault.client import answers, connection, uploads
from refault.client.asynchronous.client import AsyncServiceClient
from refault.client.documents import TraceDocument, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from typing import Self


class AsyncClient(AsyncServiceClient):
    """``Client`` for asynchronous Python: the same methods, awaited."""

    @classmethod
    def in_process(
        cls,
        app: Any,
        base_url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> Self:
        """A client of an ASGI application of this process, as reached under ``base_url``.

        ``headers`` go with every request, which seems to come from ``address``: whoever is
        answered by means of this client is thereby known to the application.
        """
        # A defect of the application is answered like any other refusal.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=address)
        client = cls(base_url, token=token, transport=transport)
        client._http.headers.update(headers or {})
        # The application has this client's version; checking thousands of cells would slow a page.
        client._checks_shapes = False
        return client

    async def upload_stream(
        self, chunks: AsyncIterator[bytes], *, name: str = "", tags: str = "", note: str = ""
    ) -> Upload:
        """Upload a trace whose bytes come from somewhere else, such as a form of a browser.

        ``tags`` are separated by blanks. Nothing is known of the file beforehand, so the service
        finds out whether it has it when it has got all of it.
        """
        query = {"name": name or None, "tag": tags.split() or None, "note": note or None}
        with self._reaching():
            response = await self._ask(
                "POST",
                uploads.PATH,
                params={key: value for key, value in query.items() if value},
                content=chunks,
                timeout=connection.UPLOAD_TIMEOUT,
            )
        trace = answers.shaped(response, TraceDocument)
        return Upload(trace, was_present=response.status_code == httpx.codes.OK)
