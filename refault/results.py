"""What one run yields: counters, what the guest saw, findings, and the digests that name it.

The simulator fills a :class:`RunResult`, the database keeps ``to_dict()`` as
JSON, comparisons read it. Two results are the same if and only if their
``digest`` is the same::

    RunResult ── to_dict() ──► plain dict (JSON)  ── from_dict() ──► RunResult
        │
        └── to_bytes() ──► canonical msgpack: keys sorted, shortest integers
                 └── sha256 ──► digest

Plain data: no numpy, no compiler, no I/O.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import msgpack

from refault.errors import ResultError
from refault.fields import (
    WORD_LIMIT,
    check_count,
    check_digest,
    fields_of,
    from_hexadecimal,
    hexadecimal,
    in_order_of_keys,
    is_int,
    numbers_of,
)

RESULT_VERSION = 1

#: The engine that was the only one once: results of it do not name it.
SHADOW = "shadow"

#: KVM's own debugfs names, then the VM's page budget, then the golden harness's work counts;
#: in this order everywhere (golden results, simulator state, tables).
COUNTERS = (
    "pf_fixed",
    "pf_guest",
    "tlb_flush",
    "invlpg",
    "mmu_shadow_zapped",
    "mmu_pte_write",
    "mmu_pte_updated",
    "mmu_pde_zapped",
    "mmu_flooded",
    "mmu_recycled",
    "mmu_cache_miss",
    "mmu_unsync",
    "remote_tlb_flush",
    "lpages",
    "n_free",
    "n_alloc",
    "active",
    "flush_calls",
    "reload_calls",
    "synced",
    "exits",
    "hw_flush",
    "parent_marks",
)

#: Counters that hold a present number, not a sum of events.
GAUGES = frozenset({"mmu_unsync", "lpages", "n_free", "n_alloc", "active"})

#: Ways an access can come out differently from what the real guest saw; exclusive of each other.
DISAGREEMENTS = (
    "wrong_address",
    "missed_fault",
    "spurious_fault",
    "wrong_error_code",
    "other",
)

#: ``accesses``: loads, fetches and stores executed. ``witnessed``: those of them whose outcome the
#: trace knows from the real guest (none in a trace of operations). Then the witnessed accesses that
#: came out differently, by class. ``stale``: those of them that contradict even a walk of the
#: guest's own tables at that moment, so that the shadow tables alone are to blame.
SEMANTICS = ("accesses", "witnessed", *DISAGREEMENTS, "stale")

#: What the golden harness did not count: how accesses found their translation, by a TLB or by a
#: walk at least begun; and the rest of KVM's debugfs counters. KVM's ``exits``, one for every run
#: of the guest, is ``vm_exits`` here, because the harness calls faults that reach the host
#: ``exits``: it is those, register writes, INVLPG and hypercalls. A result that holds one of these
#: holds all.
WORK = (
    "tlb_hits",
    "walks",
    "vm_exits",
    "mmio_exits",
    "insn_emulation",
    "insn_emulation_fail",
    "hypercalls",
)

#: What operations that are no accesses answered, in all: register writes refused with #GP; unmaps
#: that found a mapping; frames the host was told are young; shadow pages the shrinker reported;
#: frames that stopped being tables when an address was unprotected.
ANSWERS = ("gp_refused", "unmap_found", "age_young", "shrink_reported", "unprotect_found")

#: Of dirty logs that were read: how often; the pages they held, in all; those that were written
#: since the log began or was read before; and written ones that were lacking. A log may hold more
#: than what was written, and a page that it lacks is lost to a guest that is migrated.
LOGS = ("dirty_reads", "dirty_logged", "dirty_written", "dirty_lost")

#: Kinds of finding that say the guest saw something it should not have seen. Any other kind says
#: that the simulated kernel broke one of its own rules.
GUEST_VISIBLE_KINDS = (
    "wrong-address",
    "missed-fault",
    "spurious-fault",
    "wrong-error-code",
    "wrong-outcome",
    "livelock",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that went wrong in a run, and the two places where.

    ``event_index`` counts the events of the trace, ``operation_index`` what
    they became when replayed; both from 0. ``gva``, ``got`` and ``want`` are
    unsigned 64-bit words or None where they mean nothing; what ``got`` and
    ``want`` hold (an address, an error code) depends on ``kind``. ``message``
    says in words what happened, without repeating the places:
    ``st user reached 0x29e6000, real guest: #PF 6``.
    """

    kind: str
    event_index: int
    operation_index: int
    vcpu: int | None
    gva: int | None
    got: int | None
    want: int | None
    message: str

    def __post_init__(self) -> None:
        if not self.kind or not isinstance(self.kind, str):
            raise ResultError(f"finding.kind: expected a word, got {self.kind!r}")
        if not isinstance(self.message, str):
            raise ResultError(f"finding.message: expected text, got {self.message!r}")
        check_count(self.event_index, "finding.event_index")
        check_count(self.operation_index, "finding.operation_index")
        if self.vcpu is not None:
            check_count(self.vcpu, "finding.vcpu")
        for name in ("gva", "got", "want"):
            value = getattr(self, name)
            if value is not None and not (is_int(value) and 0 <= value < WORD_LIMIT):
                raise ResultError(
                    f"finding.{name}: expected an unsigned 64-bit word or null, got {value!r}"
                )

    @property
    def is_guest_visible(self) -> bool:
        """Whether the guest could have noticed; otherwise the kernel's own rules broke."""
        return self.kind in GUEST_VISIBLE_KINDS

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON; words in hexadecimal, because JSON readers lose bits above 2^53."""
        return {
            "kind": self.kind,
            "event_index": self.event_index,
            "operation_index": self.operation_index,
            "vcpu": self.vcpu,
            "gva": hexadecimal(self.gva),
            "got": hexadecimal(self.got),
            "want": hexadecimal(self.want),
            "message": self.message,
        }

    @classmethod
    def from_dict(cls, body: object) -> Finding:
        """The finding ``to_dict()`` made; raises ResultError naming the field that is wrong."""
        fields = fields_of(body, _FINDING_FIELDS, "finding")
        for name in ("gva", "got", "want"):
            fields[name] = from_hexadecimal(fields[name], f"finding.{name}")
        return cls(**fields)


@dataclasses.dataclass(frozen=True, slots=True)
class RunResult:
    """What replaying one trace under one variant with one engine gave.

    Digests are sha256 in lower-case hex; ``simulator_digest`` is that of the engine's source.
    ``counters`` holds every name of COUNTERS, or those another engine than shadow counts;
    ``semantics`` every name of SEMANTICS, in that order.
    ``answers`` every name of ANSWERS, or nothing where nobody noted them.
    ``findings`` are the first ones only; ``finding_count`` counts all.
    ``stopped`` is the defect at which the simulated kernel broke, as the real
    one did, and at which the counters end. ``outcome_digest`` covers what
    guest and host saw of every operation, in order: equal digests prove that two
    variants show them the same thing. ``page_digest`` covers the shadow
    pages left at the end. ``skipped`` says how many events were not replayed, or
    not as they were, by reason. ``work`` holds every name of WORK, or nothing where nobody counted.
    ``logs`` holds every name of LOGS where a dirty log was read, and ``lawful_digest`` is then the
    digest of outcomes with only what each log lacks.
    """

    trace_digest: str
    variant_digest: str
    simulator_digest: str
    event_count: int
    operation_count: int
    instruction_count: int
    truncated: bool
    counters: dict[str, int]
    semantics: dict[str, int]
    findings: tuple[Finding, ...]
    finding_count: int
    stopped: Finding | None
    outcome_digest: str
    page_digest: str
    skipped: dict[str, int]
    work: dict[str, int] = dataclasses.field(default_factory=dict)
    answers: dict[str, int] = dataclasses.field(default_factory=dict)
    engine: str = SHADOW
    logs: dict[str, int] = dataclasses.field(default_factory=dict)
    lawful_digest: str | None = None

    def __post_init__(self) -> None:
        for name in ("trace_digest", "variant_digest", "simulator_digest"):
            check_digest(getattr(self, name), name)
        for name in ("outcome_digest", "page_digest", "engine"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ResultError(f"{name}: expected a word, got {getattr(self, name)!r}")
        for name in ("event_count", "operation_count", "instruction_count", "finding_count"):
            check_count(getattr(self, name), name)
        if not isinstance(self.truncated, bool):
            raise ResultError(f"truncated: expected true or false, got {self.truncated!r}")
        # Key order is part of no meaning, so it is settled here: JSONB and msgpack do not keep it.
        names = COUNTERS if self.engine == SHADOW else _in_order(self.counters)
        object.__setattr__(self, "counters", numbers_of(self.counters, names, "counters"))
        object.__setattr__(self, "semantics", numbers_of(self.semantics, SEMANTICS, "semantics"))
        if self.work:
            object.__setattr__(self, "work", numbers_of(self.work, WORK, "work"))
        if self.answers:
            object.__setattr__(self, "answers", numbers_of(self.answers, ANSWERS, "answers"))
        self._check_logs()
        skipped = {name: self.skipped[name] for name in sorted(self.skipped)}
        for name, number in skipped.items():
            check_count(number, f"skipped.{name}")
        object.__setattr__(self, "skipped", skipped)
        object.__setattr__(self, "findings", tuple(self.findings))
        if len(self.findings) > self.finding_count:
            raise ResultError(
                f"finding_count: {self.finding_count} is less than the {len(self.findings)} kept"
            )

    def _check_logs(self) -> None:
        if self.logs:
            object.__setattr__(self, "logs", numbers_of(self.logs, LOGS, "logs"))
        if self.lawful_digest is not None:
            check_digest(self.lawful_digest, "lawful_digest")

    @property
    def disagreement_count(self) -> int:
        """Accesses that came out differently from what the real guest saw."""
        return sum(self.semantics[name] for name in DISAGREEMENTS)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON, with its version first."""
        return {
            "version": RESULT_VERSION,
            "trace_digest": self.trace_digest,
            "variant_digest": self.variant_digest,
            "simulator_digest": self.simulator_digest,
            "event_count": self.event_count,
            "operation_count": self.operation_count,
            "instruction_count": self.instruction_count,
            "truncated": self.truncated,
            "counters": dict(self.counters),
            "semantics": dict(self.semantics),
            "findings": [finding.to_dict() for finding in self.findings],
            "finding_count": self.finding_count,
            "stopped": None if self.stopped is None else self.stopped.to_dict(),
            "outcome_digest": self.outcome_digest,
            "page_digest": self.page_digest,
            "skipped": dict(self.skipped),
            "work": dict(self.work),
        } | self._later_fields()

    def _later_fields(self) -> dict[str, Any]:
        """Fields that older results lack, where they say something: digests stay as they were."""
        later: dict[str, Any] = {"answers": dict(self.answers)} if self.answers else {}
        if self.logs:
            later["logs"] = dict(self.logs)
        if self.lawful_digest is not None:
            later["lawful_digest"] = self.lawful_digest
        return later | ({"engine": self.engine} if self.engine != SHADOW else {})

    @classmethod
    def from_dict(cls, body: object) -> RunResult:
        """The result ``to_dict()`` made.

        Raises:
            ResultError: naming the field; a stored result is trusted no more than any other input.
        """
        if not isinstance(body, Mapping):
            raise ResultError(f"result: expected an object, got {type(body).__name__}")
        if body.get("version") != RESULT_VERSION:
            raise ResultError(
                f"result.version: this program reads version {RESULT_VERSION}, the result says "
                f"{body.get('version')!r}; run it again to get one"
            )
        rest = {name: value for name, value in body.items() if name != "version"}
        rest = {"work": {}, "answers": {}, "engine": SHADOW, **rest}
        rest = {"logs": {}, "lawful_digest": None, **rest}
        fields = fields_of(rest, _RESULT_FIELDS, "result")
        findings, stopped = fields["findings"], fields["stopped"]
        if not isinstance(findings, list | tuple):
            raise ResultError(f"findings: expected a list, got {type(findings).__name__}")
        for name in ("counters", "semantics", "skipped", "work", "answers", "logs"):
            if not isinstance(fields[name], Mapping):
                raise ResultError(f"{name}: expected an object, got {type(fields[name]).__name__}")
        fields["findings"] = tuple(Finding.from_dict(finding) for finding in findings)
        fields["stopped"] = None if stopped is None else Finding.from_dict(stopped)
        return cls(**fields)

    def to_bytes(self) -> bytes:
        """Canonical msgpack: equal results give equal bytes on every machine."""
        packed = msgpack.packb(in_order_of_keys(self.to_dict()), use_bin_type=True)
        if not isinstance(packed, bytes):  # pragma: no cover - msgpack publishes no types
            raise TypeError("msgpack gave no bytes")
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> RunResult:
        """The result ``to_bytes()`` made; raises ResultError."""
        try:
            body = msgpack.unpackb(data, raw=False)
        except (ValueError, msgpack.UnpackException) as error:
            raise ResultError(f"result: not msgpack ({error}); run it again to get one") from error
        return cls.from_dict(body)

    @property
    def digest(self) -> str:
        """sha256 of ``to_bytes()``, hex: what "the same result" means."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def _in_order(names: Mapping[str, int]) -> tuple[str, ...]:
    """Known names first, as everywhere; then the rest by name."""
    known = [name for name in COUNTERS if name in names]
    return (*known, *sorted(str(name) for name in names if name not in COUNTERS))


_FINDING_FIELDS = tuple(field.name for field in dataclasses.fields(Finding))
_RESULT_FIELDS = tuple(field.name for field in dataclasses.fields(RunResult))
