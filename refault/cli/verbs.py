"""The verbs of ``refault`` and where each is written; a verb is loaded when it is named.

``refault push`` imports what it needs itself, and builds the options of one verb, not of sixty.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, MutableMapping
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

#: Module of this package and name in it, in the order of the help: verbs, then groups of verbs.
PLACES = {
    "replay": ("replay_command", "replay"),
    "audit": ("audit_command", "audit"),
    "profile": ("profile_command", "profile"),
    "diverge": ("diverge_command", "diverge"),
    "inspect": ("inspect_command", "inspect"),
    "shrink": ("shrink_command", "shrink"),
    "capture": ("capture_command", "capture"),
    "import": ("import_command", "import_trace"),
    "verify": ("verify_command", "verify"),
    "validate": ("validate_command", "validate"),
    "synth": ("synth_command", "synth"),
    "golden": ("golden_command", "golden"),
    "push": ("push_command", "push"),
    "submit": ("submit_command", "submit"),
    "watch": ("watch_command", "watch"),
    "compare": ("compare_command", "compare_runs"),
    "usage": ("usage_command", "usage"),
    "findings": ("findings_command", "findings"),
    "repro": ("repro_command", "repro"),
    "explain": ("explain_command", "explain"),
    "patches": ("patches_command", "app"),
    "kernel": ("kernel_command", "app"),
    "traces": ("traces_command", "traces"),
    "batches": ("batches_command", "batches"),
    "bundle": ("bundle_command", "app"),
    "note": ("note_command", "app"),
    "token": ("team_command", "tokens"),
    "member": ("team_command", "members"),
    "report": ("report_command", "app"),
}


@functools.cache
def verb(name: str) -> Any:
    """The command of that name, or the group; its module is imported by the first call.

    Raises:
        KeyError: there is none.
    """
    module, attribute = PLACES[name]
    found = getattr(importlib.import_module(f"refault.cli.{module}"), attribute)
    alone = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name)(found)
    return get_group(alone).commands[name]


class _ByName(MutableMapping[str, Any]):
    """What click looks commands up in: those of ``PLACES``, and any that is added."""

    def __init__(self) -> None:
        self._added: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._added[name] if name in self._added else verb(name)

    def __setitem__(self, name: str, command: Any) -> None:
        self._added[name] = command

    def __delitem__(self, name: str) -> None:
        del self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**PLACES, **self._added})

    def __len__(self) -> int:
        return len({**PLACES, **self._added})


class Verbs(TyperGroup):
    """The group at the top: knows the names of all verbs, and loads those it is asked for."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _ByName()

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Their names, without loading any."""
        del ctx
        return list(self.commands)
