"""A synthetic guest: a miniature operating system that makes traces by recipe and seed.

::

    recipe (Python, a seed) ──rows of commands──►  machine (compiled)  ──events──►  TraceWriter
    address stream ──────────accesses───────────►    page tables in guest memory,
                                                      processes, faults, the capture's rule

Every event is what a capture tool would record of such a guest: the witness of an access is a walk
of the guest's own tables, so a replay has to agree with it.
"""

from __future__ import annotations

from refault.synth.making import Order, make
from refault.synth.recipes import RECIPES, Recipe, get_recipe

__all__ = ["RECIPES", "Order", "Recipe", "get_recipe", "make"]
