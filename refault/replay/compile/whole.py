"""Optimizes and translates kernels once, with the door that calls them.

numba makes a library of each function: it links into it all that the function calls, optimizes the
whole, and translates it to machine code. A kernel below four others would go through all of that
five times, though only a door is ever called from Python. Here a kernel's library keeps what was
lowered of the kernel alone::

    numba   k1, k2+k1, k3+k2+k1, door+k3+k2+k1     each optimized and translated
    here    k1, k2, k3 as lowered; door+k3+k2+k1   optimized and translated once
"""

from __future__ import annotations

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined]  # compiled
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.errors import CompilerError
from numba.core.typed_passes import NativeLowering


class _KernelLibrary(JITCodeLibrary):
    """One kernel as it was lowered; what it calls is linked into the door."""

    def finalize(self) -> None:
        """Add nothing from now on."""
        self._raise_if_finalized()
        self._finalized = True


class _DoorLibrary(JITCodeLibrary):
    """A door with every kernel below it."""

    def finalize(self) -> None:
        """Link, optimize and translate the whole."""
        # Callers first: LLVM leaves out a function that nothing linked so far refers to.
        self._linking_libraries = list(reversed(_callees_first(self)))
        super().finalize()
        lost = {each.name for each in self._final_module.functions if each.is_declaration}
        for library in self._linking_libraries:
            defined = {each.name for each in library.get_defined_functions()}
            if isinstance(library, _KernelLibrary) and lost & defined:
                raise CompilerError(f"{self.name} lacks {', '.join(sorted(lost & defined))}")


def _callees_first(door: Any) -> list[Any]:
    """The libraries below a door, each after those that it calls."""
    order: list[Any] = []
    seen = {door}
    stack = [(door, iter(door._linking_libraries))]  # noqa: SLF001 - numba's own
    while stack:
        library, callees = stack[-1]
        callee = next((each for each in callees if each not in seen), None)
        if callee is None:
            order.append(library)
            stack.pop()
            continue
        seen.add(callee)
        # Any other library has all it calls linked into itself.
        below = callee._linking_libraries if isinstance(callee, _KernelLibrary) else ()  # noqa: SLF001
        stack.append((callee, iter(below)))
    return order[:-1]


class _Lowering(NativeLowering):
    """Lowers into a library of ours."""

    library: type[JITCodeLibrary]

    def run_pass(self, state: Any) -> bool:
        """Lower one function."""
        name = state.func_id.func_qualname
        state.library = self.library(state.targetctx.codegen(), name)
        state.library.enable_object_caching()
        return bool(super().run_pass(state))


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(_Lowering):
    """Lowers a kernel, without machine code."""

    _name: Any = "kernel_lowering"
    library = _KernelLibrary

    def run_pass(self, state: Any) -> bool:
        """Lower, and name the kernel by a function that nobody can call."""
        state.flags.no_compile = True
        super().run_pass(state)
        described, library = state["cr"].fndesc, state.library
        named = _dynfunc.make_function(
            described.lookup_module(),
            described.qualname.split(".")[-1],
            f"compiled {described.qualname}",
            0,
            state["cr"].env,
            (library,),
        )
        state.targetctx.insert_user_function(named, described, [library])
        state["cr"] = state["cr"]._replace(cfunc=named)
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _DoorLowering(_Lowering):
    """Lowers a door, with the machine code of the whole."""

    _name: Any = "door_lowering"
    library = _DoorLibrary


class _Compiler(CompilerBase):
    """numba's compiler, with a lowering of ours."""

    lowering: type[_Lowering]

    def define_pipelines(self) -> list[PassManager]:
        """As numba's, but for the one pass."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [
            (self.lowering, text) if step is NativeLowering else (step, text)
            for step, text in passes.passes
        ]
        passes.finalize()
        return [passes]


class KernelCompiler(_Compiler):
    """Compiles a kernel as far as its door needs it."""

    lowering = _KernelLowering


class DoorCompiler(_Compiler):
    """Compiles a door with every kernel below it."""

    lowering = _DoorLowering
