"""Holding the simulator against what the real kernel code did, operation by operation.

A golden folder holds operation vectors or captures' names, and for each variant the
outcomes, counters and page sets the real code gave. :func:`cases_in` finds them,
:func:`check` replays one and names the first difference.
"""

from refault.golden.check import Verdict, check, engine_of, given
from refault.golden.folders import Case, cases_in

__all__ = ["Case", "Verdict", "cases_in", "check", "engine_of", "given"]
