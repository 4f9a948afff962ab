"""Validators of uploads between two of their requests.

A validator is worth as much as the bytes it was fed, so it is kept for the next part; a few of
them, as each holds up to a block of its trace. Without one, the bytes on disk are read again.
"""

import threading
import uuid
from collections import OrderedDict

from db.blobs import Partial
from refault.trace import TraceValidator


class Validators:
    """The validators of the uploads written to last."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._lock = threading.Lock()
        self._kept: OrderedDict[uuid.UUID, TraceValidator] = OrderedDict()

    def take(self, upload_id: uuid.UUID, partial: Partial, offset: int) -> TraceValidator:
        """One that was fed the bytes before ``offset``; it is the caller's from now on."""
        with self._lock:
            kept = self._kept.pop(upload_id, None)
        if kept is not None and kept.size_bytes == offset:
            return kept
        validator = TraceValidator()
        for chunk in partial.chunks(0, offset):
            validator.feed(chunk)
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
