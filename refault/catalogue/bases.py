"""The code patch sets are applied to."""

from __future__ import annotations

from refault.catalogue.model import Base

BASES: tuple[Base, ...] = (
    Base(
        id="v2.6.34-pre",
        title="Linux 2.6.34 with patch 2 of the series taken back out",
        date="2010-05-16",
        commit="v2.6.34, less 77662e0028c",
        knobs={
            "zap_return": 0,
            "hash_restart": 0,
            "limit_loop": 0,
            "parent_stop": 0,
            "unsync_clear": 0,
            "cr4_write": 0,
            "role_cr4_pge": 1,
            "sync_scope": 0,
        },
    ),
)
