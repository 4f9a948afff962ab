"""The name of what makes a bundle."""

from pathlib import Path

import pytest

import refault
from refault.bundle import layout


@pytest.mark.parametrize("name", ["printable", "lineage"])
def test_the_maker_is_another_once_what_pages_are_made_of_has_changed(name, monkeypatch):
    path = Path(refault.__file__).parent / f"{name}.py"
    before = layout.maker.__wrapped__()
    read = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda self: read(self) + (b"#" if self == path else b"")
    )

    assert layout.maker.__wrapped__() != before
