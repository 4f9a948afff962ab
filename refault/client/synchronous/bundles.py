# Generated from refault/client/asynchronous/bundles.py by `make client`: change it there.
"""The comparison of a batch as a file."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from refault.client import answers, bundle_calls, calls, connection, downloads
from refault.client.synchronous import bodies
from refault.client.waits import blocking, sleep

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from os import PathLike

    import httpx

    from refault.client.documents import Page

AnswerT = TypeVar("AnswerT")


class Bundles(abc.ABC):
    """Part of a client, which sends what is described here."""

    _http: httpx.Client

    @abc.abstractmethod
    def _send(self, call: calls.Call[AnswerT]) -> AnswerT:
        """Ask the service, and read its answer."""

    @abc.abstractmethod
    def _reaching(self) -> AbstractContextManager[None]:
        """Translate errors of the connection."""

    def save_bundle(
        self,
        batch: str,
        path: str | PathLike[str],
        *,
        base: int | None = None,
        trace: str | None = None,
    ) -> None:
        """Write the comparison of a batch, or of one trace of it, to ``path`` as a bundle.

        ``path`` appears whole or not at all. A service that makes as many as it may is waited for.
        ``refault.bundle.verify`` says whether it is sound.
        """
        call = bundle_calls.get_bundle(batch, base=base, trace=trace)
        saving = blocking(downloads.Saving, Path(path))
        waited_s = 0.0
        try:
            while (delay_s := self._save(call, saving, waited_s)) is not None:
                sleep(delay_s)
                waited_s += delay_s
            blocking(saving.finish)
        finally:
            saving.close()

    def _save(
        self, call: calls.Call[str], saving: downloads.Saving, waited_s: float
    ) -> float | None:
        """Keep the answer, or say how long the service wants to be left alone."""
        with self._reaching():
            request = self._http.stream(
                call.method,
                call.path,
                params=call.query,
                headers=saving.headers,
                timeout=connection.UPLOAD_TIMEOUT,
            )
            with request as response:
                delay_s = connection.retry_delay_s(response, waited_s)
                if delay_s is not None:
                    return delay_s
                if not response.is_success:
                    answers.raise_for_problem(bodies.whole(response))
                saving.begin(response)
                for chunk in response.iter_bytes(downloads.CHUNK_BYTES):
                    blocking(saving.write, chunk)
        return None

    def import_bundle(self, data: bytes) -> dict[str, Any]:
        """Keep the comparison of another service, given the bytes of its bundle."""
        return self._send(bundle_calls.import_bundle(data))

    def list_bundles(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[dict[str, Any]]:
        """One page of imported bundles, newest first."""
        return self._send(bundle_calls.list_bundles(limit=limit, cursor=cursor))

    def get_imported(self, bundle: str, *, trace: int | None = None) -> dict[str, Any]:
        """An imported bundle with its comparison, or with that of one trace, counted from 1."""
        return self._send(bundle_calls.get_imported(bundle, trace=trace))

    def imported_text(self, bundle: str, form: bundle_calls.BundleForm = "txt") -> str:
        """The comparison of an imported bundle as text, Markdown or CSV."""
        return self._send(bundle_calls.imported_text(bundle, form))

    def delete_bundle(self, bundle: str) -> None:
        """Delete an imported bundle."""
        self._send(bundle_calls.delete_bundle(bundle))
