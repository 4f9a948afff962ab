"""From ``kernel:NAME`` to a variant: which build runs, and with which parameters."""

from __future__ import annotations

import hashlib

import msgpack

from refault.catalogue import KERNEL, Parameters, PatchSet, Schedule, Variant
from refault.errors import InvalidParameter, WrongBase
from refault.linux.store import Store


def resolve_kernel(patch_set: PatchSet, store: Store | None = None) -> Variant:
    """The variant of a kernel built on this machine.

    Raises:
        UnknownKernel: none of that name is built here.
        WrongBase: patches of the catalogue on it: those are of 2010.
        InvalidParameter: one that these kernels have no use for.
    """
    name = patch_set.base.removeprefix(KERNEL)
    if patch_set.patches:
        raise WrongBase(
            f"patch {patch_set.patches[0]} of the catalogue does not go on a kernel of your own; "
            f"build it with the patch: refault kernel build TREE --patch FILE --name {name}"
        )
    build = (store or Store()).named(name)
    parameters = patch_set.parameters
    _check(parameters)
    body = {"engine": "kernel", "build": build.digest, "parameters": parameters.to_words()}
    words = parameters.to_words()
    return Variant(
        base=patch_set.base,
        patches=(),
        parameters=parameters,
        knobs={},
        digest=hashlib.sha256(msgpack.packb(body, use_bin_type=True)).hexdigest(),
        name=" ".join(
            (f"Linux {build.release}", *(f"+{title}" for title in build.patches), *words)
        ),
        short_name=" ".join((name, *words)),
        golden_name=None,
        engine="kernel",
        build=build.digest,
    )


def _check(parameters: Parameters) -> None:
    if parameters.bypass:
        raise InvalidParameter(
            "bypass=1 is not for a kernel of your own: KVM gave up bypass_guest_pf in 2012"
        )
    if parameters.tlb:
        raise InvalidParameter("tlb=1 is not for a kernel of your own: it has no simulated TLB")
    if isinstance(parameters.page_limit, Schedule):
        raise InvalidParameter("a page_limit that moves is not for a kernel of your own")
