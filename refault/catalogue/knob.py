"""What a knob is: one switch of the simulated MMU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Knob:
    """One switch: its name, what it decides, and the meaning of each of its values, from 0 on."""

    name: str
    question: str
    values: Mapping[int, str]
    source: str
