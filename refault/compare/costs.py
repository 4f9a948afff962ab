"""A cost model: exact counts times weights, in cycles. A model beside counts, never part of them.

::

    Costs  ── from text  exit:1800,remote_flush:3000     a query of the API, an option
           ── from file  TOML or JSON                    refault replay --costs FILE
    model(comparison, costs)  ──►  CostModel: for each column a sum, and what it is made of

Counts decide whether a patch costs more or less. Only where some rise and others fall do the
weights say which way the sum leans (``balance.py``). They differ between processors by more than
most patches matter, so every place that shows cycles says that they are a model, with which
weights.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Self

from refault.errors import InvalidParameter

if TYPE_CHECKING:
    from pathlib import Path

    from refault.compare.comparison import ComparedColumn, Comparison

#: Cycles that a weight may be.
WEIGHT_MAX = 10**9
VCPUS_MAX = 1024
FILE_BYTES_MAX = 1 << 16
DEFAULT = "default"
#: vCPUs where neither the weights nor the caller say: one remote processor for a remote flush.
_VCPUS_UNKNOWN = 2

_LKML = (
    "vmrun to #VMEXIT and back, 1344 to 1376 cycles on AMD, in a mail to the kernel list "
    "(lkml.iu.edu/hypermail/linux/kernel/2012.2/00527.html)"
)
_SHOOTDOWN = (
    "a rule of thumb for TLB shootdowns, 1 µs and 200 ns for each receiver (unseel.com/cs/"
    "tlb-shootdown), at 3 GHz"
)
_EMULATOR = (
    "2300 to 3200 cycles to emulate an instruction until the emulator was made faster in 2014, "
    "then 720 to 1100, Sandy Bridge, by kvm-unit-tests: message of Linux commit 44583cba9188"
)
_LOAD = (
    "12 cycles of a load from the second-level cache, Ivy Bridge (7-cpu.com/cpu/IvyBridge.html): a "
    "dependent load that misses the nearest one"
)
_ASSUMED = "assumed, no public measurement found: "


@dataclasses.dataclass(frozen=True, slots=True)
class Weight:
    """What one weight is multiplied with: counters of which the first that exists is taken."""

    counters: tuple[str, ...]
    what: str
    source: str


#: Every weight, in order.
WEIGHTS: dict[str, Weight] = {
    "exit": Weight(("vm_exits", "exits"), "each exit of the guest", _LKML),
    "local_flush": Weight(
        ("hw_flush", "tlb_flush"),
        "each flush of the processor's own TLB",
        _ASSUMED + "a VPID flush and some refills",
    ),
    "remote_flush": Weight(
        ("remote_tlb_flush",), "each remote flush, if there is another vCPU", _SHOOTDOWN
    ),
    "remote_flush_vcpu": Weight(
        ("remote_tlb_flush",), "each remote flush, for each receiver beyond the first", _SHOOTDOWN
    ),
    "walk_step": Weight(
        ("parent_marks",),
        "each link visited while ancestors of an out-of-sync page are marked",
        _LOAD,
    ),
    "sync": Weight(
        ("synced",), "each page synced", _ASSUMED + "512 entries compared, 64 cache lines"
    ),
    "emulated_write": Weight(
        ("mmu_pte_write",),
        "each emulated write to a table, besides its exit",
        _EMULATOR,
    ),
    "zap": Weight(
        ("mmu_shadow_zapped",),
        "each shadow page zapped",
        _ASSUMED + "512 entries looked at, reverse maps and links undone",
    ),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Costs:
    """Weights in cycles, by the names of WEIGHTS; ``vcpus`` 0 is the trace's own number.

    Raises:
        InvalidParameter: a weight is no number from 0 to WEIGHT_MAX.
    """

    exit: int = 1360
    local_flush: int = 400
    remote_flush: int = 3000
    remote_flush_vcpu: int = 600
    walk_step: int = 12
    sync: int = 2000
    emulated_write: int = 2000
    zap: int = 3000
    vcpus: int = 0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            most = VCPUS_MAX if name == "vcpus" else WEIGHT_MAX
            if type(value) is not int or not 0 <= value <= most:
                raise InvalidParameter(f"costs: {name} is {value!r}; expected 0 to {most}")

    @classmethod
    def from_mapping(cls, given: object, *, place: str = "costs") -> Self:
        """Those weights, and the default for every other; raises InvalidParameter."""
        if not isinstance(given, Mapping):
            raise InvalidParameter(f"{place}: expected weights by name, got {given!r}")
        names = [field.name for field in dataclasses.fields(cls)]
        for name in given:
            if name not in names:
                raise InvalidParameter(f"{place}: no weight {name!r}; there are {', '.join(names)}")
        return cls(**given)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Weights as in a URL: ``exit:1800,remote_flush:3000``, or ``default``."""
        if text == DEFAULT:
            return cls()
        given: dict[str, int] = {}
        for word in text.split(","):
            name, colon, number = word.strip().partition(":")
            if not colon or not number.isascii() or not number.isdigit() or len(number) > 10:  # noqa: PLR2004
                raise InvalidParameter(
                    f"costs: {word.strip()!r}: expected name:cycles, such as exit:1800,zap:3000"
                )
            if name in given:
                raise InvalidParameter(f"costs: {name} is given twice")
            given[name] = int(number)
        return cls.from_mapping(given)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Weights of a TOML or JSON file; raises InvalidParameter naming what is wrong."""
        try:
            data = path.read_bytes()[: FILE_BYTES_MAX + 1]
        except OSError as error:
            raise InvalidParameter(f"{path} cannot be read: {error.strerror}") from error
        if len(data) > FILE_BYTES_MAX:
            raise InvalidParameter(f"{path}: longer than any file of weights")
        try:
            text = data.decode()
            given = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            form = "JSON" if path.suffix == ".json" else "TOML"
            raise InvalidParameter(f"{path}: not {form}: {error}") from error
        return cls.from_mapping(given, place=str(path))

    def to_text(self) -> str:
        """The weights that differ from the default, as in a URL; ``default`` where none does."""
        default = dataclasses.asdict(Costs())
        changed = [
            f"{name}:{value}"
            for name, value in dataclasses.asdict(self).items()
            if value != default[name]
        ]
        return ",".join(changed) or DEFAULT


@dataclasses.dataclass(frozen=True, slots=True)
class CostTerm:
    """One weight across the columns: counts and cycles, None where there is no such counter."""

    name: str
    weight: int
    counters: tuple[str | None, ...]
    counts: tuple[int | None, ...]
    cycles: tuple[int | None, ...]

    @property
    def is_estimate(self) -> bool:
        """Whether the weight is our own estimate: no source, and not given by the reader."""
        return _source(self.name, self.weight).startswith(_ASSUMED)


@dataclasses.dataclass(frozen=True, slots=True)
class CostModel:
    """Modelled cycles of the columns of one comparison; None without a result."""

    costs: Costs
    vcpus: int
    labels: tuple[str, ...]
    terms: tuple[CostTerm, ...]

    @property
    def totals(self) -> tuple[int | None, ...]:
        """All terms of each column; None without a result, or where nothing is counted."""
        columns = zip(*(term.cycles for term in self.terms), strict=True)
        found = [[each for each in column if each is not None] for column in columns]
        return tuple(sum(each) if each else None for each in found)

    @property
    def changes(self) -> tuple[float | None, ...]:
        """Each total's change against the base's, in percent with two digits."""
        first, *_ = totals = self.totals
        return tuple(
            None if total is None or not first else round(100 * (total - first) / first, 2)
            for total in totals
        )

    def to_dict(self) -> dict[str, Any]:
        """The model as JSON: it says that it is one, and with which weights."""
        return {
            "is_model": True,
            "unit": "cycles",
            "text": self.costs.to_text(),
            "vcpus": self.vcpus,
            "columns": list(self.labels),
            "totals": list(self.totals),
            "percents": list(self.changes),
            "terms": [
                {
                    "name": term.name,
                    "weight": term.weight,
                    "what": WEIGHTS[term.name].what,
                    "source": _source(term.name, term.weight),
                    "is_estimate": term.is_estimate,
                    "counters": list(term.counters),
                    "counts": list(term.counts),
                    "cycles": list(term.cycles),
                }
                for term in self.terms
            ],
        }


def _source(name: str, weight: int) -> str:
    return WEIGHTS[name].source if weight == getattr(Costs(), name) else "given"


def model(comparison: Comparison, costs: Costs, *, vcpus: int | None = None) -> CostModel:
    """The modelled cycles of each column; ``vcpus`` are the trace's, where the caller knows."""
    count = costs.vcpus or vcpus or _VCPUS_UNKNOWN
    terms = []
    for name, weight in WEIGHTS.items():
        found = [_count(column, weight.counters) for column in comparison.columns]
        cycles = getattr(costs, name)
        factor = cycles * _receivers(name, count)
        counts = tuple(number for _, number in found)
        terms.append(
            CostTerm(
                name,
                cycles,
                tuple(counter for counter, _ in found),
                counts,
                tuple(None if number is None else number * factor for number in counts),
            )
        )
    labels = tuple(column.label for column in comparison.columns)
    return CostModel(costs, count, labels, tuple(terms))


def factors(counted: Collection[str], costs: Costs) -> dict[str, int]:
    """The cycles of one count of each of these counters that has a weight."""
    count = costs.vcpus or _VCPUS_UNKNOWN
    found: dict[str, int] = {}
    for name, weight in WEIGHTS.items():
        counter = next((each for each in weight.counters if each in counted), None)
        if counter is not None:
            factor = getattr(costs, name) * _receivers(name, count)
            found[counter] = found.get(counter, 0) + factor
    return found


def _receivers(name: str, vcpus: int) -> int:
    """How often a weight counts for each event: of a remote flush once, and for each further vCPU.

    The vCPU that flushes is no receiver.
    """
    if name == "remote_flush":
        return int(vcpus > 1)
    return max(0, vcpus - 2) if name == "remote_flush_vcpu" else 1


def _count(column: ComparedColumn, counters: tuple[str, ...]) -> tuple[str | None, int | None]:
    """The first of the counters that the column has."""
    if column.result is None:
        return None, None
    known = column.result.counters | column.result.work
    for name in counters:
        if name in known:
            return name, known[name]
    return None, None
