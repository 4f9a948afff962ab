"""What a synthetic guest can be told to do, one module a kind of load.

To add a recipe, write it in one of them and add its line here.
"""

from __future__ import annotations

from typing import Final

from refault.errors import InvalidParameter
from refault.synth.recipes import containers, hosts, kernels, memory, processes
from refault.synth.recipes.recipe import Recipe

#: By name, in the order in which they are listed.
RECIPES: Final[dict[str, Recipe]] = {
    each.name: each
    for each in (
        processes.FORK,
        processes.EXEC,
        memory.MMAP,
        memory.COW,
        processes.MANY,
        memory.THP,
        kernels.GLOBAL,
        kernels.PTI,
        hosts.PRESSURE,
        hosts.MIGRATION,
        containers.PVM,
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InvalidParameter: there is none; lists those there are.
    """
    if name not in RECIPES:
        raise InvalidParameter(
            f"recipe {name}: there is none of that name; `refault synth list` shows them: "
            f"{', '.join(RECIPES)}"
        )
    return RECIPES[name]


__all__ = ["RECIPES", "Recipe", "get_recipe"]
