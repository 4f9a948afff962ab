# Generated from refault/client/asynchronous/client.py by `make client`: change it there.
"""The client of the service: uploads, downloads, batches, and how requests are sent."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from refault.client import answers, calls, connection, downloads, resumable, uploads
from refault.client.documents import (
    BatchDocument,
    BatchEvent,
    TraceDocument,
    Upload,
)
from refault.client.synchronous import bodies
from refault.client.synchronous.bundles import Bundles
from refault.client.synchronous.catalogue import Catalogue
from refault.client.synchronous.kernels import Kernels
from refault.client.synchronous.lists import Lists
from refault.client.synchronous.notes import Notes
from refault.client.synchronous.questions import Questions
from refault.client.synchronous.results import BatchResults
from refault.client.synchronous.team import Team
from refault.client.waits import blocking, sleep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from os import PathLike
    from types import TracebackType
    from typing import Self

    from refault.client.uploads import Progress

AnswerT = TypeVar("AnswerT")
_LARGE_BYTES = 64 << 10
"""Parsing more would keep other tasks of the same loop waiting, so a thread does it."""


class Client(
    Team,
    BatchResults,
    Bundles,
    Notes,
    Catalogue,
    Kernels,
    Lists,
    Questions,
):
    """A connection to one service; a context manager.

    Every method raises ``Refused`` when the service says no (its ``problem``
    is the RFC 9457 document) and ``Unavailable`` when nothing answers. A busy
    service that names a time (``Retry-After``) is waited for, a request whose
    answer was lost is sent again; POSTs carry keys, so that none is done twice.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        timeout_s: float = connection.TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url
        self._checks_shapes = True
        self._http = httpx.Client(
            **connection.options(base_url, token, timeout_s), transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def use_login(self, secret: str) -> None:
        """Send what follows as a login (``log_in``), with the form key that its writes need."""
        self._http.headers.pop("authorization", None)
        self._http.headers["cookie"] = f"{connection.SESSION_COOKIE}={secret}"
        me = self.get_me()
        self._http.headers[connection.FORM_KEY_HEADER] = me["form_key"] or ""

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def upload_trace(
        self,
        path: str | PathLike[str],
        *,
        name: str | None = None,
        tags: Sequence[str] = (),
        note: str = "",
        progress: Progress | None = None,
    ) -> Upload:
        """Upload a trace file, unless the service has it; ``progress(sent, total)`` in bytes.

        Name, tags and note are kept if the trace is new. A large file goes on where an earlier
        upload of it broke off, also by itself while this call lasts. ``NotATrace`` if the file
        cannot be read here. The bytes are streamed.
        """
        file = blocking(uploads.TraceFile.open, Path(path), name, tags, note)
        if self._send(calls.has_blob(file.digest)):
            return Upload(self.get_trace(file.digest), was_present=True)
        if file.size_bytes >= resumable.LARGE_BYTES:
            trace_id = self._push(file, progress)
            return Upload(self.get_trace(trace_id), was_present=False)
        return self._upload("POST", uploads.PATH, file, progress)

    def put_blob(
        self,
        path: str | PathLike[str],
        *,
        name: str | None = None,
        progress: Progress | None = None,
    ) -> Upload:
        """Upload a trace file under its digest, even if the service has it: mends a damaged one."""
        file = blocking(uploads.TraceFile.open, Path(path), name)
        return self._upload("PUT", calls.get_blob(file.digest).path, file, progress)

    def _upload(
        self, method: str, path: str, file: uploads.TraceFile, progress: Progress | None
    ) -> Upload:
        with self._reaching():
            response = self._ask(
                method,
                path,
                params=file.query,
                headers=file.headers,
                content=bodies.chunks(file, progress),
                timeout=connection.UPLOAD_TIMEOUT,
            )
        return Upload(
            answers.shaped(response, TraceDocument),
            was_present=response.status_code == httpx.codes.OK,
        )

    def _push(self, file: uploads.LocalFile, progress: Progress | None) -> str:
        steps = resumable.steps(file, self.base_url)
        step = next(steps)
        while True:
            sleep(step.delay_s)
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._ask(
                    step.method,
                    step.path,
                    params=step.query,
                    headers=step.headers,
                    content=bodies.chunks(file, progress, step.start, step.stop)
                    if step.stop
                    else None,
                    timeout=connection.UPLOAD_TIMEOUT,
                )
            except httpx.TransportError as error:
                outcome = error
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                return str(done.value)

    def download_trace(
        self, digest: str, path: str | PathLike[str], *, progress: Progress | None = None
    ) -> None:
        """Download a trace file by its whole digest, going on where an earlier attempt broke off.

        ``path`` appears complete and checked, or not at all; ``DigestMismatch`` if the bytes are
        not those of the digest. ``progress(received, total)`` in bytes.
        """
        download = blocking(downloads.Download, Path(path), digest)
        broken_count = 0
        try:
            while True:
                size_bytes = download.size_bytes
                try:
                    self._receive(download, progress)
                    break
                except httpx.TransportError as error:
                    broken_count = 0 if download.size_bytes > size_bytes else broken_count
                    if broken_count >= connection.RECONNECT_COUNT:
                        raise answers.unreachable(error, self.base_url) from error
                sleep(connection.reconnect_delay_s(broken_count))
                broken_count += 1
            blocking(download.finish)
        finally:
            download.close()

    def _receive(self, download: downloads.Download, progress: Progress | None) -> None:
        call = calls.get_blob(download.digest)
        request = self._http.stream(call.method, call.path, headers=download.headers)
        with request as response:
            if download.has_all(response):
                return
            if not response.is_success:
                answers.raise_for_problem(bodies.whole(response))
            download.begin(response)
            for chunk in response.iter_bytes(downloads.CHUNK_BYTES):
                blocking(download.write, chunk)
                if progress is not None:
                    progress(download.size_bytes, download.total_bytes or download.size_bytes)

    def trace_course(self, trace: str, form: calls.TableForm = "csv") -> str:
        """Make-up and working set of a trace over its guest's time, as CSV or JSON."""
        return self._send(calls.trace_course(trace, form))

    def get_trace(self, trace: str) -> TraceDocument:
        """One trace by id or digest."""
        return self._send(calls.get_trace(trace))

    def submit_batch(
        self,
        traces: Sequence[str],
        patch_sets: Sequence[str],
        *,
        plan: calls.Plan = "each",
        axes: Mapping[str, Sequence[Any]] | None = None,
        trace_query: Mapping[str, Any] | None = None,
        priority: int | None = None,
        recompute: bool = False,
        audit: str | None = None,
        title: str | None = None,
    ) -> BatchDocument:
        """Plan and start a batch: traces by id or digest × patch sets by id.

        ``audit`` (``sampled``, ``flush``, ``every``) has the invariants of every run checked.
        ``title`` is what people call it.
        """
        call = calls.submit_batch(
            traces,
            patch_sets,
            plan=plan,
            axes=axes,
            trace_query=trace_query,
            priority=priority,
            recompute=recompute,
            audit=audit,
            title=title,
        )
        return self._send(call)

    def get_batch(self, batch: str) -> BatchDocument:
        """One batch, by id or code."""
        return self._send(calls.get_batch(batch))

    def watch_batch(self, batch: str, *, last_event_id: str = "") -> Iterator[BatchEvent]:
        """The events of a batch until it has finished; reconnects by itself where it left off.

        ``Unavailable`` after ``connection.RECONNECT_COUNT`` broken
        connections in a row that brought nothing.
        """
        broken_count = 0
        while True:
            try:
                for event in self._events(batch, last_event_id):
                    broken_count = 0
                    last_event_id = event.id
                    yield event
                    if event.event == connection.LAST_EVENT:
                        return
            except httpx.TransportError as error:
                if broken_count >= connection.RECONNECT_COUNT:
                    raise answers.unreachable(error, self.base_url) from error
            if broken_count >= connection.RECONNECT_COUNT:
                raise connection.stream_ended(batch)
            sleep(connection.reconnect_delay_s(broken_count))
            broken_count += 1

    def _events(self, batch: str, last_event_id: str) -> Iterator[BatchEvent]:
        call = calls.watch_batch(batch, last_event_id=last_event_id)
        request = self._http.stream(
            call.method, call.path, headers=call.headers, timeout=connection.STREAM_TIMEOUT
        )
        with request as response:
            if not response.is_success:
                answers.raise_for_problem(bodies.whole(response))
            yield from bodies.events(response)

    def _send(self, call: calls.Call[AnswerT]) -> AnswerT:
        headers = connection.headers_of(call.method, call.headers)
        waited_s = 0.0
        while True:
            response = self._answer(call, headers)
            delay_s = connection.retry_delay_s(response, waited_s)
            if delay_s is None:
                if len(response.content) > _LARGE_BYTES:
                    return blocking(self._read, call, response)
                return self._read(call, response)
            sleep(delay_s)
            waited_s += delay_s

    def _read(self, call: calls.Call[AnswerT], response: httpx.Response) -> AnswerT:
        answer = call.read(response)
        if self._checks_shapes:
            answers.fitting(response, answer, call.shape)
        return answer

    def _answer(self, call: calls.Call[AnswerT], headers: dict[str, str]) -> httpx.Response:
        """The answer to one request, sent again if the connection broke under it."""
        with self._reaching():
            for _ in range(connection.RESEND_COUNT):
                with suppress(httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                    return self._request(call, headers)
            return self._request(call, headers)

    def _request(self, call: calls.Call[AnswerT], headers: dict[str, str]) -> httpx.Response:
        return self._ask(
            call.method,
            call.path,
            params=call.query,
            json=call.body,
            content=call.content,
            headers=headers,
        )

    def _ask(self, method: str, path: str, **told: Any) -> httpx.Response:
        """One request and its answer, read to its end unless that is too far."""
        with self._http.stream(method, path, **told) as response:
            return bodies.whole(response)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise answers.unreachable(error, self.base_url) from error
        except UnicodeEncodeError as error:
            raise answers.unsendable(error) from error
        except httpx.InvalidURL as error:
            raise answers.unaddressable(error) from error
