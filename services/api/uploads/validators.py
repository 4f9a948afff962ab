"""Validators of uploads: new ones, and those kept between two requests of an upload.

All of them decode in the same few threads, into the same few buffers, however many uploads run,
because a block takes memory. A few validators are kept for the next part, since rebuilding one
re-reads the file. Without one, the bytes on disk are read again, but not for every part: see
``service.py``.
"""

import threading
import uuid
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from db.blobs import Partial
from refault.trace import ReadBack, Rooms, TraceValidator


class Validators:
    """The validators of the most recently written uploads."""

    def __init__(self, count_max: int, decode_count: int) -> None:
        self._count_max = count_max
        self._decoding = ThreadPoolExecutor(decode_count, "decoding")
        self._rooms = Rooms()
        self._lock = threading.Lock()
        self._kept: OrderedDict[uuid.UUID, TraceValidator] = OrderedDict()

    def new(self, read_back: ReadBack) -> TraceValidator:
        """A validator for bytes read back from there."""
        return TraceValidator(read_back, self._decoding, self._rooms)

    def take(self, upload_id: uuid.UUID, partial: Partial, offset: int) -> TraceValidator | None:
        """The kept validator that was fed the bytes before ``offset``; the caller owns it now.

        None if none was kept: see :meth:`again`.
        """
        with self._lock:
            kept = self._kept.pop(upload_id, None)
        if kept is not None and kept.size_bytes == offset:
            kept.read_back_from(partial.read)
            return kept
        return None if offset else self.new(partial.read)

    def again(self, partial: Partial, offset: int) -> TraceValidator:
        """A new validator, fed the bytes before ``offset`` from the file.

        Raises TraceError if they are invalid.
        """
        validator = self.new(partial.read)
        try:
            for chunk in partial.chunks(0, offset):
                validator.feed(chunk)
        except BaseException:
            validator.abandon()
            raise
        return validator

    def give(self, upload_id: uuid.UUID, validator: TraceValidator) -> None:
        """Keeps it for the next part; the least recently used one may be dropped."""
        with self._lock:
            self._kept[upload_id] = validator
            while len(self._kept) > self._count_max:
                self._kept.popitem(last=False)

    def drop(self, upload_id: uuid.UUID) -> None:
        """Drops it."""
        with self._lock:
            self._kept.pop(upload_id, None)

    def close(self) -> None:
        """Ends the threads after their pending work."""
        self._decoding.shutdown()
