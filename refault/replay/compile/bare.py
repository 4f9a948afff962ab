"""What a kernel sees of an array: a bare pointer to its words, of a type of its own.

numba passes an array to a callee as seven values and allows every index to count from the
end. A host is seven arrays, so each call between kernels would move 49 values, each access
test a sign, and each store to one array make the compiler reload from the others. A door
therefore begins with ``m = bare(m)``::

    Machine(vm: array, page: array, …)  ──bare──►  Machine(vm: words, page: words, …)

That leaves one register per array; indices must be 0 or more, values are ``int64`` whatever
the array holds, and the compiler is told that no array overlaps another (TBAA). Words have
no length: a kernel that needs it takes it as an argument. Interpreted and bounds-checked
kernels keep their lists and arrays.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model


class Words(types.Type):
    """The items of one named array."""

    def __init__(self, array: str, dtype: Any) -> None:
        self.array = array
        self.dtype = dtype
        super().__init__(name=f"Words({array}, {dtype})")


@register_model(Words)
class _WordsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Words) -> None:
        item = manager.lookup(kind.dtype).get_data_type()
        super().__init__(manager, kind, item.as_pointer())


@infer_global(operator.getitem)
class _TypeOfGet(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        del kws
        if isinstance(args[0], Words) and isinstance(args[1], types.Integer):
            return signature(types.int64, args[0], types.int64)
        return None


@infer_global(operator.setitem)
class _TypeOfSet(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        del kws
        words, *numbers = args
        plain = (types.Integer, types.Boolean)
        if isinstance(words, Words) and all(isinstance(number, plain) for number in numbers):
            return signature(types.none, words, types.int64, types.int64)
        return None


def _tag(builder: Any, kind: Words) -> Any:
    """The TBAA tag of an array: no two of them overlap."""
    module = builder.module
    root = module.add_metadata(["refault words"])
    node = module.add_metadata([kind.array, root])
    return module.add_metadata([node, node, ir.Constant(ir.IntType(64), 0)])


@lower_builtin(operator.getitem, Words, types.int64)
def _get(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kind = sig.args[0]
    item = builder.load(builder.gep(args[0], [args[1]]))
    item.set_metadata("tbaa", _tag(builder, kind))
    return context.cast(builder, item, kind.dtype, types.int64)


@lower_builtin(operator.setitem, Words, types.int64, types.int64)
def _set(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kind = sig.args[0]
    value = context.cast(builder, args[2], types.int64, kind.dtype)
    store = builder.store(value, builder.gep(args[0], [args[1]]))
    store.set_metadata("tbaa", _tag(builder, kind))
    return context.get_dummy_value()


@intrinsic
def shared_word(typing_context: Any, words: Any, place: Any) -> Any:
    """A word that another thread may set meanwhile: no loop keeps it in a register.

    ``words`` may be an array as well, where kernels are tested by themselves.
    """
    del typing_context, place

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = args[0]
        if isinstance(sig.args[0], types.Array):
            data = context.make_array(sig.args[0])(context, builder, data).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "monotonic", 8)

    return signature(types.int64, words, types.int64), generate


@intrinsic
def bare_words(typing_context: Any, record: Any) -> Any:
    """The same named tuple with each one-dimensional array as :class:`Words`."""
    del typing_context
    name = record.instance_class.__name__
    fields = [
        Words(f"{name}.{field}", array.dtype)
        for field, array in zip(record.fields, record.types, strict=True)
    ]
    bare = types.NamedTuple(fields, record.instance_class)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        del sig
        arrays = cgutils.unpack_tuple(builder, args[0], len(fields))
        data = [
            context.make_array(kind)(context, builder, array).data
            for kind, array in zip(record.types, arrays, strict=True)
        ]
        return context.make_tuple(builder, bare, data)

    return signature(bare, record), generate
