"""Patch 5: a flag word in place of two fields."""

from __future__ import annotations

from refault.catalogue.layouts import BEFORE, LAYOUTS, LONG_BYTES, sizeof
from refault.thread.evidence import Answer, Evidence, Standing
from refault.thread.mails import avi, xiao
from refault.thread.rules import listed, same_machine
from refault.thread.topics import Form, Objection, Topic

_FLAGS, _BOOL, _BITS = "flag word", "bool", "bit fields"


def _sizes(form: str) -> dict[str, int]:
    """Bytes of struct kvm_mmu_page in a form, by ABI."""
    return {abi: sizeof(LAYOUTS[form], size) for abi, size in LONG_BYTES.items()}


def _told(form: str) -> str:
    return listed([f"{size} bytes on {abi}" for abi, size in _sizes(form).items()])


def _claim(evidence: Evidence) -> Answer:
    answer = same_machine(evidence)
    before, after = _sizes(BEFORE), _sizes(_FLAGS)
    smaller = [abi for abi in before if after[abi] < before[abi]]
    text = f"{answer.text} struct kvm_mmu_page has {_told(BEFORE)} before, {_told(_FLAGS)} after."
    if answer.standing is not Standing.BORNE_OUT or len(smaller) == len(before):
        return Answer(answer.standing, text)
    return Answer(Standing.IN_PART if smaller else Standing.REFUTED, text)


def _bool_is_enough(evidence: Evidence) -> Answer:
    del evidence
    flags, plain, bits = _sizes(_FLAGS), _sizes(_BOOL), _sizes(_BITS)
    text = f"With bool it has {_told(_BOOL)}, with bit fields {_told(_BITS)}"
    if all(plain[abi] <= flags[abi] for abi in flags) and bits == plain:
        return Answer(Standing.BORNE_OUT, f"{text}: no byte more than with the flag word.")
    return Answer(Standing.REFUTED, f"{text}; with the flag word {_told(_FLAGS)}.")


TOPIC = Topic(
    number=5,
    title="flag word instead of int and bool fields",
    mail=xiao("1:05 am"),
    base="base",
    posted=Form("p5", "as posted", "Xiao Guangrong", "sp-flags-word"),
    claim=_claim,
    counters=(),
    forms=(
        Form("p5bool", "as merged: bool", "Xiao Guangrong", "sp-bool"),
        Form("p5bits", "bit fields", "Avi Kivity's idea", "sp-bitfields"),
    ),
    objections=(
        Objection(
            avi("1:36 am"),
            "Just use bool for multimapped; from more than 4 flags on, 'bool flag : 1'.",
            _bool_is_enough,
        ),
    ),
    today=(
        "bool unsync in struct kvm_mmu_page; multimapped is gone: parents are in a kvm_rmap_head, "
        "whose lowest bit tells one from many."
    ),
    settled="0571d366e0b (2.6.35-rc1)",
)
