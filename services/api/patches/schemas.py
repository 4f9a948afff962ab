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


class Change(Document):
    """A knob that a patch sets, in words."""

    knob: str
    question: str
    answer: str = Field(description="With the patch")
    before: dict[str, str] = Field(description="Without it, by base")
    source: str = Field(description="The functions of KVM that differ")


class Form(Document):
    """Another form of the same change."""

    id: str
    title: str
    author: str
    date: str
    fate: str
    is_merged: bool
    is_origin: bool = Field(description="The patch of which the others are forms")
    note: str = Field(description="What it is, in a few words; or empty")


class Conflict(Document):
    """A patch that sets the same knobs: the two cannot be combined."""

    patch: str
    knobs: list[str]


class Diffstat(Document):
    """How many lines a diff changes."""

    added: int
    removed: int


class Mail(Document):
    """A mail of the thread of April 2010."""

    author: str
    date: str
    time: str


class Saying(Document):
    """What a mail says of a patch."""

    mail: Mail | None = Field(description="null: nobody said so then")
    text: str
    shown_by: str | None = Field(description="A vector of this project that shows the point")


class Explained(Document):
    """Why a check of an audit fails under this patch, where it does."""

    check: str
    text: str


class Thread(Document):
    """What was said of a patch, and of its forms, on the kvm mailing list."""

    patch: str | None = Field(description="The patch that was posted; null: the series")
    name: str
    title: str
    mail: Mail
    said: list[Saying]
    explained: list[Explained]
    today: str = Field(description="What Linux 6.12 does in the same place")
    settled_by: str = Field(description="The commits that made it so")


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
    files: list[str] = Field(default_factory=list, description="Those its diffs touch")
    diffstat: Diffstat | None = Field(None, description="Where it is known")
    is_merged: bool = Field(
        default=False, description="Whether it, or another form of it, went into Linux as such"
    )
    changes: list[Change] = Field(default_factory=list, description="Its knobs, in words")
    applies_to: list[str] = Field(default_factory=list, description="Bases it can be put on")
    forms: list[Form] = Field(default_factory=list, description="Other forms of the same change")
    conflicts: list[Conflict] = Field(default_factory=list)
    text: str | None = Field(
        None,
        description="The text of `refault replay --variant` for it, after the patches it requires",
    )
    held_against: str | None = Field(None, description="The same without it")
    needed_by: list[str] = Field(default_factory=list, description="Patches that require it")
    thread: Thread | None = Field(None, description="What was said of it in April 2010")


class Base(Document):
    """The code a patch set is applied to."""

    id: str
    title: str
    date: str
    commit: str
    knobs: dict[str, int]
    engine: str = Field(description="The engine that executes it: `shadow` or `walk`")
