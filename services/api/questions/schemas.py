"""Questions as JSON."""

import uuid
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from refault.audits import SAMPLE_EVERY, SAMPLE_EVERY_MAX, Level
from refault.questions import OUTCOME, Between, Question, Where
from services.api.batches.schemas import TraceReference
from services.api.patch_sets.schemas import Variant
from services.api.schemas import Body, Digest, Document, Time

VARIANT_LENGTH_MAX = 2_000

AuditLevel = Literal["sampled", "flush", "every"]
QuestionKind = Literal["audit", "divergence", "inspection"]
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


class AuditBody(Body):
    """Which invariants of the shadow MMU break under a variant?"""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kind": "audit", "trace": "9b1c3c8f", "variant": "p3", "level": "flush"}]
        }
    )

    kind: Literal["audit"]
    trace: TraceName
    variant: VariantText
    level: AuditLevel = "flush"
    every: int = Field(
        SAMPLE_EVERY, ge=1, le=SAMPLE_EVERY_MAX, description="Operations between two samples"
    )
    seed: int = Field(0, ge=0, lt=1 << 32, description="Draws the samples")

    @property
    def texts(self) -> list[str]:
        """The variants' texts."""
        return [self.variant]

    def question(self) -> Question:
        """What is asked."""
        if self.level != "sampled":
            return Question(Level(self.level))
        return Question(Level(self.level, self.every, self.seed))


class DivergenceBody(Body):
    """Where do two variants differ first?"""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kind": "divergence", "trace": "9b1c3c8f", "variants": ["base", "p3"]}]
        }
    )

    kind: Literal["divergence"]
    trace: TraceName
    variants: list[VariantText] = Field(min_length=2, max_length=2)
    on: str = Field(
        OUTCOME,
        pattern=r"^[a-z0-9_]{1,48}$",
        description="outcome, pages, or the name of a counter",
    )
    next: bool = Field(
        default=False, description="Also the first later one that is no consequence of the first"
    )

    @property
    def texts(self) -> list[str]:
        """The variants' texts."""
        return self.variants

    def question(self) -> Question:
        """What is asked."""
        return Question(Between(self.on, self.next))


class InspectionBody(Body):
    """What is a variant's MMU at one operation, and how did it come to be so?"""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "inspection",
                    "trace": "9b1c3c8f",
                    "variant": "p3",
                    "operation": 1045,
                    "gva": "0x400000",
                }
            ]
        }
    )

    kind: Literal["inspection"]
    trace: TraceName
    variant: VariantText
    event: _Index | None = Field(None, description="Before its operations; default: the end")
    operation: _Index | None = Field(None, description="Where that operation comes next")
    back: _Index = Field(0, description="So many operations earlier")
    until_change: Address | None = Field(
        None, description="Back to right after the latest change of an entry of that address"
    )
    until: str | None = Field(
        None,
        max_length=60,
        description="Back to right after the latest such tracepoint: zap gfn 0x105; also get, sync "
        "and unsync",
    )
    forward: bool = Field(
        default=False, description="With `until`: on to the next, by default from the beginning"
    )
    gva: Address | None = Field(None, description="Both walks of that guest address")
    gfn: Address | None = Field(None, description="The shadow pages of that guest table")
    page: int | None = Field(None, ge=0, lt=1 << 32, description="That shadow page, by number")
    vcpu: int | None = Field(None, ge=0, lt=1 << 16)

    @property
    def texts(self) -> list[str]:
        """The variants' texts."""
        return [self.variant]

    def question(self) -> Question:
        """What is asked; raises InvalidParameter for two places or two views."""
        given = self.model_dump(exclude={"kind", "trace", "variant"})
        for name in ("until_change", "gva", "gfn"):
            if given[name] is not None:
                given[name] = int(given[name], 0 if "x" in given[name] else 10)
        return Question(Where(**given))


QuestionBody = Annotated[AuditBody | DivergenceBody | InspectionBody, Field(discriminator="kind")]


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
        description="As `--json` of `refault audit`, `diverge` or `inspect` has it; null until it "
        "is done"
    )
    text: str | None = Field(description="The answer in 72 columns")
