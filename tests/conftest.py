"""Fixtures of every folder: a real Postgres and broker, the service over ASGI, the whole stack."""

pytest_plugins = [
    "tests.fixtures.database",
    "tests.fixtures.broker",
    "tests.fixtures.api",
    "tests.fixtures.bucket",
    "tests.fixtures.stack",
]
