"""From ``kernel:NAME`` to a variant: which build runs, and with which parameters."""

from __future__ import annotations

import dataclasses
import hashlib

import msgpack

from refault.catalogue import KERNEL, Parameters, PatchSet, Variant
from refault.errors import InvalidParameter, WrongBase
from refault.linux.store import Store

_DIGITS = 12


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
    variant = variant_of_build(build.digest, build.release, patch_set.parameters)
    words = patch_set.parameters.to_words()
    titles = (f"+{title}" for title in build.patches)
    return dataclasses.replace(
        variant,
        base=patch_set.base,
        name=" ".join((f"Linux {build.release}", *titles, *words)),
        short_name=" ".join((name, *words)),
    )


def variant_of_build(build: str, release: str, parameters: Parameters) -> Variant:
    """The variant of a build's digest, named by nothing but that.

    Raises:
        InvalidParameter: one that these kernels have no use for.
    """
    _check(parameters)
    words = parameters.to_words()
    body = {"engine": "kernel", "build": build, "parameters": words}
    return Variant(
        base=f"{KERNEL}{build}",
        patches=(),
        parameters=parameters,
        knobs={},
        digest=hashlib.sha256(msgpack.packb(body, use_bin_type=True)).hexdigest(),
        name=" ".join((f"Linux {release} {build[:_DIGITS]}", *words)),
        short_name=" ".join((build[:_DIGITS], *words)),
        golden_name=None,
        engine="kernel",
        build=build,
    )


def _check(parameters: Parameters) -> None:
    if parameters.bypass:
        raise InvalidParameter(
            "bypass=1 is not for a kernel of your own: KVM gave up bypass_guest_pf in 2012"
        )
    if parameters.tlb:
        raise InvalidParameter("tlb=1 is not for a kernel of your own: it has no simulated TLB")
