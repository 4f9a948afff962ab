"""The forms of data as parts of a route: ``/batches.{form:table_suffix}``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.convertors import Convertor, register_url_convertor

if TYPE_CHECKING:
    from collections.abc import Iterable


def name_forms(name: str, forms: Iterable[str]) -> None:
    """Let routes say ``{form:name}`` for one of these."""

    class Form(Convertor[str]):
        regex = "|".join(forms)

        def convert(self, value: str) -> str:
            return value

        def to_string(self, value: str) -> str:
            return value

    register_url_convertor(name, Form())
