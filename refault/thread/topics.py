"""What is known of a patch before anything is measured: the nouns of the thread, as plain data.

::

    Topic    one patch of the series, with the base it is held against
      ├── Form        it as posted, and every other form: asked for, merged later
      ├── Setting     under which parameters all of them are replayed
      ├── Objection   what a mail says, and the rule that holds it against the data
      └── reasons     why a check fails, in words, if it does
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from refault.catalogue import get_patch

if TYPE_CHECKING:
    from refault.thread.evidence import Answer, Evidence
    from refault.thread.mails import Mail

    Judge = Callable[[Evidence], Answer]

#: Vectors of operations: guests that do what those of quiet captures do not.
VECTORS = "tests/golden/vectors"


class Setting(NamedTuple):
    """Parameters under which the forms are replayed; ``words`` follow a variant's name.

    ``title`` says what they stand for, ``short`` in a word or two.
    """

    words: str
    title: str
    short: str

    def named(self, text: str) -> str:
        """A variant under this setting, as ``-v`` takes it."""
        return f"{text},{self.words}" if self.words else text


PLAIN = Setting("", "as captured", "")
#: The golden results' limit ``sq``: 400 shadow pages, then 64, in turn.
LOWERED = Setting(
    "page-limit=400/64/32768", "a host that lowers its page limit now and then", "limit lowered"
)


class Form(NamedTuple):
    """One form of a patch: ``text`` is what ``-v`` takes, ``patch`` its id in the catalogue.

    ``title`` says what it is in a few words, ``who`` whose it is. What is not in the catalogue, the
    series as a whole, has a claim and a fate of its own.
    """

    text: str
    title: str
    who: str
    patch: str = ""
    own_claim: str = ""
    own_fate: str = ""

    @property
    def claim(self) -> str:
        """What it is to be good for."""
        return get_patch(self.patch).claim if self.patch else self.own_claim

    @property
    def fate(self) -> str:
        """What became of it."""
        return get_patch(self.patch).fate if self.patch else self.own_fate

    @property
    def reconstruction(self) -> str:
        """What had to be guessed, or nothing."""
        return get_patch(self.patch).reconstruction if self.patch else ""


class Objection(NamedTuple):
    """What somebody said of a patch, and the rule that decides whether the data bears it out.

    ``mail`` is None for what nobody said. ``elsewhere`` names a vector that shows the point.
    """

    mail: Mail | None
    said: str
    judge: Judge
    elsewhere: str = ""


@dataclasses.dataclass(frozen=True)
class Topic:
    """A patch of the series, or the series: the mail, its forms, what was said of it.

    ``base`` is the variant that every form is held against. ``claim`` is the rule that decides
    whether the patch does what it says. ``counters`` are shown of every form. ``reasons`` explain
    a check that fails. ``sampled`` is a gauge whose course under the base a rule asks for, if any.
    ``today`` is what Linux 6.12 does in the same place, ``settled`` the commits that made it so.
    """

    number: int
    title: str
    mail: Mail
    base: str
    posted: Form
    claim: Judge
    counters: tuple[str, ...]
    today: str
    settled: str
    forms: tuple[Form, ...] = ()
    objections: tuple[Objection, ...] = ()
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settings: tuple[Setting, ...] = (PLAIN,)
    note: str = ""
    sampled: str = ""

    @property
    def name(self) -> str:
        """``Patch 3``, or ``The series``."""
        return f"Patch {self.number}" if self.number else "The series"

    @property
    def all_forms(self) -> tuple[Form, ...]:
        """It as posted, then every other form."""
        return (self.posted, *self.forms)

    def labels(self, setting: Setting) -> tuple[str, ...]:
        """Every variant under a setting, the base first."""
        texts = (self.base, *(form.text for form in self.all_forms))
        return tuple(setting.named(text) for text in dict.fromkeys(texts))
