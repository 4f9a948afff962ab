"""What the methods of ``Bundles`` and ``AsyncBundles`` ask, each request described once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refault.client import answers, calls

if TYPE_CHECKING:
    from refault.client.calls import Call


def get_bundle(batch: str, *, base: int | None = None, trace: str | None = None) -> Call[str]:
    """The comparison of a batch as a bundle; its bytes are streamed."""
    told = {"base": base, "trace": trace}
    query = {name: value for name, value in told.items() if value is not None}
    path = calls.ask("GET", ("comparisons", f"{batch}.zip")).path
    return calls.Call("GET", path, answers.text, query=query)
