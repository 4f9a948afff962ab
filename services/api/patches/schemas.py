"""The catalogue as JSON."""

from pydantic import ConfigDict, Field

from services.api.schemas import Document


class StructSize(Document):
    """How large a struct is on one ABI."""

    sizeof: int = Field(description="Bytes")
    cachelines: int = Field(description="Cache lines of 64 bytes it takes")


class StructSizes(Document):
    """How large a struct is on both ABIs of x86."""

    x86_64: StructSize = Field(alias="x86-64")
    i386: StructSize


class Layout(StructSizes):
    """The layout a patch gives struct kvm_mmu_page; no behaviour depends on it."""

    form: str
    before: StructSizes


class Patch(Document):
    """One proposed change to the MMU."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "cr4-posted",
                    "title": "KVM MMU: optimize for writing cr4",
                    "author": "Xiao Guangrong",
                    "date": "2010-04-12",
                    "summary": "Skips the MMU reset when only bits without effect on it change.",
                    "claim": "Fewer resets",
                    "objection": "The new value is not stored",
                    "fate": "Not merged in this form",
                    "knobs": {"cr4_write": 1},
                    "requires": [],
                    "source": "kvm mailing list, [PATCH 4/6]",
                    "short": "p4",
                    "form_of": None,
                    "reconstruction": "",
                    "merged_in": {},
                    "not_on": {},
                    "layout": None,
                    "subjects": ["KVM MMU: optimize for writing cr4"],
                    "diff_ids": [],
                    "golden_names": ["p4", "series"],
                }
            ]
        }
    )

    id: str
    title: str
    author: str
    date: str = Field(description="ISO 8601, as exact as known")
    summary: str
    claim: str
    objection: str
    fate: str
    knobs: dict[str, int] = Field(description="What it sets; empty if it changes no behaviour")
    requires: list[str] = Field(description="Patches that must come before it")
    source: str
    short: str = Field(description="Its part of a variant's short name")
    form_of: str | None = Field(description="The patch this one is another form of")
    reconstruction: str = Field(description="What was guessed, or empty")
    merged_in: dict[str, str] = Field(description="Bases that have it already, and in which form")
    not_on: dict[str, str] = Field(description="Bases it makes no sense on, and why")
    layout: Layout | None = Field(description="Sizes of struct kvm_mmu_page, if it changes them")
    subjects: list[str] = Field(description="Subjects it was mailed under, without tags")
    diff_ids: list[str] = Field(description="What its diffs change, as digests")
    golden_names: list[str] = Field(
        description="Golden names of variants with it; empty: no real-code result"
    )


class Base(Document):
    """The code a patch set is applied to."""

    id: str
    title: str
    date: str
    commit: str
    knobs: dict[str, int]
    engine: str = Field(description="The engine that executes it: `shadow` or `walk`")
