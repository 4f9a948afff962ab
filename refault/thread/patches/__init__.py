"""The six patches of the thread and the series, one file each, in the order of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refault.thread.patches import (
    patch_1_struct,
    patch_2_zap,
    patch_3_parents,
    patch_4_cr4,
    patch_5_flags,
    patch_6_list,
    series,
)

if TYPE_CHECKING:
    from refault.thread.topics import Topic

TOPICS: tuple[Topic, ...] = (
    patch_1_struct.TOPIC,
    patch_2_zap.TOPIC,
    patch_3_parents.TOPIC,
    patch_4_cr4.TOPIC,
    patch_5_flags.TOPIC,
    patch_6_list.TOPIC,
    series.TOPIC,
)
