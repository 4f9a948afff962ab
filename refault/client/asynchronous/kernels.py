"""Kernels of people's own trees: made, awaited, read, deleted."""

from __future__ import annotations

import abc
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from refault.client import connection, kernel_calls, uploads
from refault.client.documents import KernelPush
from refault.client.waits import async_blocking, async_sleep
from refault.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from refault.client import calls
    from refault.client.documents import KernelDocument, Page
    from refault.client.uploads import Progress

AnswerT = TypeVar("AnswerT")


class AsyncKernels(abc.ABC):
    """Part of a client, which sends what is described here."""

    @abc.abstractmethod
    async def _send(self, call: calls.Call[AnswerT]) -> AnswerT:
        """Ask the service, and read its answer."""

    @abc.abstractmethod
    async def _push(self, file: uploads.LocalFile, progress: Progress | None) -> str:
        """Send a file in parts."""

    async def push_kernel(
        self,
        tree: str | PathLike[str],
        *,
        name: str,
        mails: bytes = b"",
        sanitize: bool = False,
        plan: calls.BuildPlan = "series",
        version: int | None = None,
        progress: Progress | None = None,
    ) -> KernelPush:
        """Make a kernel of a packed tree, which is uploaded unless the service has it.

        ``mails`` are a series as mbox, mails or patch files; ``plan`` says which of its patches
        are built together. ``progress(sent, total)`` in bytes of the tree.
        """
        file = await async_blocking(uploads.TreeFile.open, Path(tree))

        def made() -> calls.Call[KernelDocument]:
            return kernel_calls.create_kernel(
                name, file.digest, mails, sanitize=sanitize, plan=plan, version=version
            )

        try:
            return KernelPush(await self._send(made()), was_present=True)
        except Refused as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND:
                raise
        await self._push(file, progress)
        return KernelPush(await self._send(made()), was_present=False)

    async def upload_tree(
        self, path: str | PathLike[str], *, progress: Progress | None = None
    ) -> str:
        """Upload a tree packed by ``refault kernel pack``; its digest. ``NotATree`` if unreadable.

        It goes on where an earlier upload of it broke off, as ``upload_trace`` does.
        """
        file = await async_blocking(uploads.TreeFile.open, Path(path))
        return await self._push(file, progress)

    async def create_kernel(
        self,
        name: str,
        tree: str,
        mails: bytes = b"",
        *,
        sanitize: bool = False,
        plan: calls.BuildPlan = "series",
        version: int | None = None,
    ) -> KernelDocument:
        """A kernel of an uploaded tree, by digest; the one that is there if it is the same."""
        call = kernel_calls.create_kernel(
            name, tree, mails, sanitize=sanitize, plan=plan, version=version
        )
        return await self._send(call)

    async def list_kernels(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[KernelDocument]:
        """One page of kernels, newest first."""
        return await self._send(kernel_calls.list_kernels(limit=limit, cursor=cursor))

    async def get_kernel(self, kernel: str) -> KernelDocument:
        """One kernel by name or id, with the logs of its builds."""
        return await self._send(kernel_calls.get_kernel(kernel))

    async def request_builds(
        self,
        kernel: str,
        *,
        patches: Sequence[Sequence[int]] | None = None,
        plan: calls.BuildPlan | None = None,
    ) -> KernelDocument:
        """Build more of a kernel, and what failed again: combinations of patches, or a plan's."""
        call = kernel_calls.request_builds(kernel, patches=patches, plan=plan)
        return await self._send(call)

    async def delete_kernel(self, kernel: str) -> None:
        """Delete a kernel with its builds; results of batches stay."""
        await self._send(kernel_calls.delete_kernel(kernel))

    async def get_kernel_patch(self, kernel: str, number: int) -> str:
        """The diff of one patch of a kernel."""
        return await self._send(kernel_calls.get_kernel_patch(kernel, number))

    async def wait_for_kernel(
        self, kernel: str, *, progress: Progress | None = None
    ) -> KernelDocument:
        """The kernel once all its builds are over; ``progress(done, total)`` in units of C.

        A total may change while builds begin.
        """
        while True:
            found = await self._send(kernel_calls.get_kernel(kernel))
            if progress is not None:
                progress(*kernel_calls.units_of(found))
            if not kernel_calls.is_open(found):
                return found
            await async_sleep(connection.POLL_S)
