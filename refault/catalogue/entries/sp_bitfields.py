"""Patch 5 in Avi Kivity's form for many flags."""

from __future__ import annotations

from refault.catalogue.model import Patch

PATCH = Patch(
    id="sp-bitfields",
    title="Patch 5 with bit fields of bool",
    author="after Avi Kivity",
    date="2010-04-12",
    summary="'multimapped' and 'unsync' of struct kvm_mmu_page become bit fields, 'bool flag : 1'.",
    claim="From more than four flags on it saves space, and stays readable.",
    objection="With two flags it saves nothing over bool.",
    fate="Never needed.",
    knobs={},
    requires=(),
    source="Avi Kivity's reply in the same thread",
    short="p5bits",
    form_of="sp-flags-word",
    reconstruction="The reply describes it; there was no such patch.",
    layout="bit fields",
)
