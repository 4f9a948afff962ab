"""Validators of uploads between two of their requests.

A validator is worth as much as the bytes it was fed, so it is kept for the next part; a few of
them, as each holds what it counted. Without one, the bytes on disk are read again.
"""

import threading
import uuid
from collections import OrderedDict
from concurrent.futures import Executor

from db.blobs import Partial
from refault.trace import TraceValidator


class Validators:
    """The validators of the uploads written to last."""

    def __init__(self, count_max: int, decoding: Executor) -> None:
        self._count_max = count_max
        self._decoding = decoding
        self._lock = threading.Lock()
        self._kept: OrderedDict[uuid.UUID, TraceValidator] = OrderedDict()

    def take(self, upload_id: uuid.UUID, partial: Partial, offset: int) -> TraceValidator:
        """One that was fed the bytes before ``offset``; it is the caller's from now on.

        Raises TraceError if these bytes, read again, are no good.
        """
        with self._lock:
            kept = self._kept.pop(upload_id, None)
        if kept is not None and kept.size_bytes == offset:
            kept.go_on_reading_from(partial.read)
            return kept
        validator = TraceValidator(partial.read, self._decoding)
        try:
            for chunk in partial.chunks(0, offset):
                validator.feed(chunk)
        except BaseException:
            validator.abandon()
            raise
        return validator

    def give(self, upload_id: uuid.UUID, validator: TraceValidator) -> None:
        """Keeps it for the next part; the one that waited longest may have to go."""
        with self._lock:
            self._kept[upload_id] = validator
            while len(self._kept) > self._count_max:
                self._kept.popitem(last=False)

    def drop(self, upload_id: uuid.UUID) -> None:
        """Forgets it."""
        with self._lock:
            self._kept.pop(upload_id, None)
