import importlib

import pytest

from tests.architecture.source_files import ROOT, python_files

MODULES = [
    ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    for path in python_files("refault")
    if "__all__" in (ROOT / path).read_text() and path.name != "__main__.py"
]


@pytest.mark.parametrize("module_name", MODULES)
def test_every_public_name_can_be_imported_and_says_what_it_is(module_name):
    module = importlib.import_module(module_name)
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert not missing
    assert len(set(module.__all__)) == len(module.__all__)
    assert module.__doc__


def test_the_doors_of_the_library_name_what_they_offer():
    doors = {"refault.trace", "refault.catalogue", "refault.compare", "refault.client"}
    assert doors <= set(MODULES)
