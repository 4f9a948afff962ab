"""Kernels that tests build, in a store of the checkout's."""

import pytest

from refault.linux.build import Options, build_series
from refault.linux.patches import read
from refault.linux.store import Store
from refault.linux.tree import opened
from tests.fixtures.trees import packed

#: Debian 12 has no package of the first: its tests run where somebody has packed one.
RELEASES = ("5.10", "6.1", "6.12")


@pytest.fixture(scope="session")
def store():
    """Compiled units are kept between runs; what is built of them is named by digest."""
    return Store()


@pytest.fixture(scope="session", params=RELEASES)
def release(request):
    packed(request.param)
    return request.param


@pytest.fixture
def build(store):
    """Builds of a release, the last one with all of the patches."""

    def built(release, patches=(), **options):
        series = read(list(patches)) if patches else []
        with opened(packed(release), store.root / "trees") as found:
            return build_series(found, series, store, Options(**options))

    return built
