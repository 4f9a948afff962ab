"""Fixtures of every folder: a real Postgres and broker, the service over ASGI, the whole stack."""

from hypothesis import settings

# How long an example takes depends on the machine: what must be quick is shown in benchmarks/.
settings.register_profile("refault", deadline=None)
settings.load_profile("refault")

pytest_plugins = [
    "tests.fixtures.database",
    "tests.fixtures.broker",
    "tests.fixtures.api",
    "tests.fixtures.browser",
    "tests.fixtures.bucket",
    "tests.fixtures.issuer",
    "tests.fixtures.browsing",
    "tests.fixtures.large",
    "tests.fixtures.kernels",
    "tests.fixtures.stack",
    "tests.fixtures.trees",
]

# Files that mostly wait begin first, so that the others run beside them and not before.
BEGIN_FIRST = ("pipeline/test_soak.py", "pipeline/test_outages.py", "pipeline/test_faults.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not str(item.path).endswith(BEGIN_FIRST))
