"""Questions as JSON."""

import uuid
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from refault.audits import SAMPLE_EVERY, SAMPLE_EVERY_MAX, Level
from refault.questions import OUTCOME, Between, Itself, Question, Where
from services.api.batches.schemas import TraceReference
from services.api.patch_sets.schemas import Variant
from services.api.schemas import Body, Digest, Document, Time

VARIANT_LENGTH_MAX = 2_000

AuditLevel = Literal["sampled", "flush", "every"]
QuestionKind = Literal["audit", "divergence", "inspection", "verification"]
QuestionState = Literal["queued", "running", "done", "failed"]
TraceName = Annotated[str, Field(min_length=1, max_length=64, description="Id or digest")]
VariantText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=VARIANT_LENGTH_MAX,
        description="As `refault replay --variant` names it: p3, zap-account+parent-stop-bit, "
        "walk, kernel:mine+1..2",
    ),
]
Address = Annotated[
    str,
    Field(
        pattern=r"^(0x[0-9a-fA-F]{1,16}|[0-9]{1,20})$",
        description="Text, as JSON numbers lose the low bits: 0xffffffff81000000",
    ),
]
_Index = Annotated[int, Field(ge=0, lt=1 << 62)]


_EVERY = ("kind", "trace")
_FIELDS: dict[str, tuple[str, ...]] = {
    "audit": ("variant", "level", "every", "seed"),
    "divergence": ("variants", "on", "next"),
    "inspection": (
        *("variant", "event", "operation", "back", "until_change", "until", "forward"),
        *("gva", "gfn", "page", "vcpu"),
    ),
    "verification": (),
}
_VARIANTS = ("variant", "variants")
_ADDRESSES = ("until_change", "gva", "gfn")


class QuestionBody(Body):
    """A question of a trace, with the fields of its kind.

    One class, so that an error names its place whatever kind was meant.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "audit", "trace": "9b1c3c8f", "variant": "p3", "level": "flush"},
                {"kind": "divergence", "trace": "9b1c3c8f", "variants": ["base", "p3"]},
                {
                    "kind": "inspection",
                    "trace": "9b1c3c8f",
                    "variant": "p3",
                    "operation": 1045,
                    "gva": "0x400000",
                },
            ]
        }
    )

    kind: QuestionKind = Field(
        description="audit: which invariants break; divergence: where two variants differ first; "
        "inspection: the MMU at one operation, and how it came to be so; verification: whether the "
        "trace itself is true (asked for each capture that is uploaded)"
    )
    trace: TraceName
    variant: VariantText | None = Field(None, description="Of an audit or an inspection")
    variants: list[VariantText] | None = Field(
        None, min_length=2, max_length=2, description="Of a divergence"
    )
    level: AuditLevel | None = Field(None, description="Of an audit; default: flush")
    every: int | None = Field(
        None,
        ge=1,
        le=SAMPLE_EVERY_MAX,
        description=f"Of a sampled audit: operations between two samples; default: {SAMPLE_EVERY}",
    )
    seed: int | None = Field(
        None, ge=0, lt=1 << 32, description="Of a sampled audit: draws the samples; default: 0"
    )
    on: str | None = Field(
        None,
        pattern=r"^[a-z0-9_]{1,48}$",
        description="Of a divergence: outcome (the default), pages, or the name of a counter",
    )
    next: bool | None = Field(
        None,
        description="Of a divergence: also the first later one that is no consequence of the first",
    )
    event: _Index | None = Field(
        None, description="Of an inspection: before its operations; default: the end"
    )
    operation: _Index | None = Field(
        None, description="Of an inspection: where that operation comes next"
    )
    back: _Index | None = Field(None, description="Of an inspection: so many operations earlier")
    until_change: Address | None = Field(
        None,
        description="Of an inspection: back to right after the latest change of an entry of that "
        "address",
    )
    until: str | None = Field(
        None,
        max_length=60,
        description="Of an inspection: back to right after the latest such tracepoint: zap gfn "
        "0x105; also get, sync and unsync",
    )
    forward: bool | None = Field(
        None, description="With `until`: on to the next, by default from the beginning"
    )
    gva: Address | None = Field(
        None, description="Of an inspection: both walks of that guest address"
    )
    gfn: Address | None = Field(
        None, description="Of an inspection: the shadow pages of that guest table"
    )
    page: int | None = Field(
        None, ge=0, lt=1 << 32, description="Of an inspection: that shadow page, by number"
    )
    vcpu: int | None = Field(None, ge=0, lt=1 << 16, description="Of an inspection")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        known = (*_EVERY, *_FIELDS[self.kind])
        wrong = {
            name: f"no field of kind {self.kind}"
            for name in type(self).model_fields
            if name not in known and getattr(self, name) is not None
        }
        wrong |= {
            name: f"kind {self.kind} needs it"
            for name in _VARIANTS
            if name in known and getattr(self, name) is None
        }
        if wrong:
            raise ValidationError.from_exception_data(
                type(self).__name__,
                [
                    InitErrorDetails(
                        type=PydanticCustomError("kind", "{told}", {"told": told}),
                        loc=(name,),
                        input=None,
                    )
                    for name, told in wrong.items()
                ],
            )
        return self

    @property
    def texts(self) -> list[str]:
        """The variants' texts."""
        return [self.variant] if self.variant is not None else list(self.variants or ())

    def question(self) -> Question:
        """What is asked; raises InvalidParameter for options that do not go together."""
        names = [name for name in _FIELDS[self.kind] if name not in _VARIANTS]
        given: dict[str, Any] = {
            name: value for name in names if (value := getattr(self, name)) is not None
        }
        if self.kind == "audit":
            return Question(Level(given.pop("level", "flush"), **given))
        if self.kind == "divergence":
            return Question(Between(given.get("on", OUTCOME), given.get("next", False)))
        if self.kind == "verification":
            return Question(Itself())
        for name in _ADDRESSES:
            if name in given:
                given[name] = int(given[name], 0 if "x" in given[name] else 10)
        return Question(Where(**given))


class QuestionSummary(Document):
    """A question and how far its answer is."""

    id: uuid.UUID
    kind: QuestionKind
    trace: TraceReference
    variants: list[Variant]
    options: dict[str, Any] = Field(description="What is asked, by the names of the request")
    state: QuestionState = Field(description="`failed`: `error` says why there is no answer")
    error: str | None
    document: Digest = Field(description="Names the answer: equal questions have equal ones")
    bytes_done: int = Field(description="Of the trace, as far as it is read")
    bytes_total: int
    attempt: int
    made_by: str | None = Field(description="`user NAME` or `token NAME`; null: no longer known")
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


class QuestionDetail(QuestionSummary):
    """A question with its answer."""

    answer: dict[str, Any] | None = Field(
        description="As `--json` of `refault audit`, `diverge`, `inspect` or `verify` has it; null "
        "until it is done"
    )
    text: str | None = Field(description="The answer in 72 columns")
