"""Patch 2 with the first half of what its reviewers asked for."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="zap-restart-posted",
    title="Patch 2 with restarts instead of its change to the iterator",
    author="after Avi Kivity",
    date="2010-04-12",
    summary=(
        "Every hash and list walk starts again after a zap that took children; the loop that "
        "lowers the page limit stays as posted, without a test for an empty list."
    ),
    claim="'goto restart' is easier to read than a changed iterator, and as safe.",
    objection="",
    fate="The restarts were merged as 3246af0ece6 (2.6.35-rc1).",
    knobs={
        "zap_return": values.ZAP_RETURN_CHILDREN,
        "hash_restart": values.HASH_RESTART_EVERY_WALK,
        "limit_loop": values.LIMIT_LOOP_CHILDREN,
    },
    requires=(),
    source="Avi Kivity's reply of 12 April 2010 in the same thread",
    short="p2goto",
    form_of="zap-account",
    reconstruction="The reply describes it; there was no such patch.",
    merged_in={"v2.6.35.6": "as 77662e0028c and 3246af0ece6"},
)
