"""Fixtures of every folder: a real Postgres and broker, the service over ASGI, the whole stack."""

import gc
from pathlib import Path

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

# The longest files begin first, longest ahead, and those that mostly wait before the others: a file
# is one worker's, and a long one that begins last has a core to itself. Any order is right.
BEGIN_FIRST = (
    "pipeline/test_soak.py",
    "pipeline/test_outages.py",
    "pipeline/test_faults.py",
    "golden/test_golden.py",
    "pipeline/test_local.py",
    "engines/test_two_readings.py",
    "linux/test_runs.py",
    "audit/test_variants.py",
    "browser/test_journey.py",
    "browser/test_comparison_page.py",
    "linux/test_user_path.py",
    "cli/test_kinds_of_files.py",
    "replay/test_snapshots.py",
    "browser/test_every_page.py",
    "linux/test_walls.py",
    "linux/test_builds.py",
    "pipeline/test_kernels.py",
    "api/test_access_table.py",
    "cli/test_replay_command.py",
    "engines/test_architecture.py",
    "browser/test_project_pages.py",
    "audit/test_mechanics.py",
    "worker/test_database_faults.py",
    "worker/test_builds.py",
)
_ROOT = Path(__file__).parent
# Collecting makes hundreds of thousands of objects that stay: looking through them again and again
# took a quarter of its time.
gc.disable()


def pytest_collection_modifyitems(items):
    ranks = {_ROOT / name: rank for rank, name in enumerate(BEGIN_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def pytest_collection_finish():
    gc.collect()
    # What stays is not looked through any more.
    gc.freeze()
    gc.enable()
