"""What workers that are starting compile, in words: for pages and for the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def starting_text(workers: Sequence[Mapping[str, Any]]) -> str:
    """What is compiled and how far, of the worker that is furthest; empty where none is starting.

    Several that start together compile once: one does, the others wait for it.
    """
    if not workers:
        return ""
    first = max(workers, key=lambda each: (each["kernels_done"], each["step_number"]))
    others = len(workers) - 1
    who = "a worker compiles"
    if others:
        who = f"{others + 1} workers are starting; one compiles"
    text = f"{who} {first['step']}, {first['step_number']} of {first['step_count']}"
    if first["kernels_total"]:
        text += f": {first['kernels_done']} of {first['kernels_total']} kernels"
    return text
