"""Vega-Lite to SVG in child processes, which can be killed; this process never draws.

::

    request ──► kept? ──► a turn ──► process ──► SVG
                            │           │ killed by its limits or by the clock, or aborted by
                            ▼           ▼ the library: DrawingFailed, and the next one is new
                          Busy        500

A chart takes a second and a hundred megabytes, and the drawing library may abort its process. So
few are drawn at once, few wait, and one project takes at most half of the places.

A specification is drawn once: whoever asks for the same one meanwhile waits for that picture, and
takes no place; afterwards it is kept, packed, by the digest of the specification.
"""

import hashlib
import json
import struct
import subprocess
import sys
import threading
import zlib
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from services.api.refusals import Busy, DrawingFailed

_SCRIPT = Path(__file__).with_name("drawing_process.py")
_KEPT_BYTES = 16 << 20
# A picture is packed to an eighth.
_LEVEL = 3
_LENGTH = struct.Struct("!Q")


class Drawings:
    """Draws charts; closed with the service."""

    def __init__(self, parallel_count: int, waiting_count: int, seconds: float) -> None:
        self._parallel_count = parallel_count
        self._places = parallel_count + waiting_count
        self._seconds = seconds
        self._changed = threading.Condition()
        self._asked: Counter[Hashable] = Counter()
        self._drawing_count = 0
        self._idle: list[_Process] = []
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._coming: dict[bytes, Future[str]] = {}
        self._kept_bytes = 0

    def svg_of(self, spec: Mapping[str, Any], owner: Hashable) -> str:
        """The SVG of a Vega-Lite specification, for a project.

        Raises:
            Busy: the queue is full.
            DrawingFailed: the process died, or took too long.
        """
        text = json.dumps(spec, sort_keys=True)
        key = hashlib.sha256(text.encode()).digest()
        with self._changed:
            coming = self._coming.get(key)
            found = None if coming is not None else self._find(key)
            if coming is None and found is None:
                mine = self._coming[key] = Future()
        if found is not None:
            return found
        if coming is not None:
            return coming.result()
        try:
            with self._turn(owner):
                svg = self._drawn(text.encode())
        except BaseException as error:
            self._come(key, None)
            mine.set_exception(error)
            raise
        self._come(key, svg)
        mine.set_result(svg)
        return svg

    def close(self) -> None:
        """Ends the processes."""
        with self._changed:
            for process in self._idle:
                process.end()
            self._idle.clear()

    @contextmanager
    def _turn(self, owner: Hashable) -> Iterator[None]:
        with self._changed:
            count = self._asked.total()
            if count >= self._places or self._asked[owner] >= max(1, self._places // 2):
                raise Busy(
                    f"{count} charts are being drawn or wait, {self._asked[owner]} of them of this "
                    "project: ask again in a few seconds, or for another format"
                )
            self._asked[owner] += 1
            try:
                while self._drawing_count >= self._parallel_count:
                    self._changed.wait()
            except BaseException:
                self._asked[owner] -= 1
                raise
            self._drawing_count += 1
        try:
            yield
        finally:
            with self._changed:
                self._drawing_count -= 1
                self._asked[owner] -= 1
                self._asked += Counter()  # forgets who asks for nothing
                self._changed.notify()

    def _drawn(self, spec: bytes) -> str:
        with self._changed:
            process = self._idle.pop() if self._idle else None
        # One that waited may have ended by itself meanwhile.
        if process is not None and not process.is_alive:
            process.end()
            process = None
        process = process or _Process()
        try:
            svg = process.draw(spec, self._seconds)
        except BaseException:
            process.end()
            raise
        with self._changed:
            self._idle.append(process)
        return svg

    def _find(self, key: bytes) -> str | None:
        packed = self._kept.get(key)
        if packed is None:
            return None
        self._kept.move_to_end(key)
        return zlib.decompress(packed).decode()

    def _come(self, key: bytes, svg: str | None) -> None:
        """The picture is kept before its key is free: nobody draws it again in between."""
        packed = None if svg is None else zlib.compress(svg.encode(), _LEVEL)
        with self._changed:
            del self._coming[key]
            if packed is None or len(packed) > _KEPT_BYTES:
                return
            self._kept[key] = packed
            self._kept_bytes += len(packed)
            while self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])


class _Process:
    """One process that draws, one drawing at a time."""

    def __init__(self) -> None:
        # Nothing of our environment, which holds passwords, and nothing of our path.
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def draw(self, spec: bytes, seconds: float) -> str:
        is_late = threading.Event()

        def stop() -> None:
            is_late.set()
            self._process.kill()

        clock = threading.Timer(seconds, stop)
        clock.start()
        try:
            sent, answered = cast("BinaryIO", self._process.stdin), self._process.stdout
            sent.write(_LENGTH.pack(len(spec)) + spec)
            sent.flush()
            svg = _read(cast("BinaryIO", answered), *_LENGTH.unpack(_read(answered, _LENGTH.size)))
        except (OSError, EOFError) as error:
            self.end()
            reason = (
                f"took longer than {seconds:g} s"
                if is_late.is_set()
                else f"ended its process ({self._process.returncode})"
            )
            raise DrawingFailed(
                f"drawing the chart {reason}: take another format, or fewer columns"
            ) from error
        finally:
            clock.cancel()
        return svg.decode()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                cast("BinaryIO", stream).close()


def _read(stream: Any, size_bytes: int) -> bytes:
    found: bytes = stream.read(size_bytes)
    if len(found) < size_bytes:
        raise EOFError
    return found
