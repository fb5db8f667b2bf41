"""As the tests of consumers: one database, emptied before each test."""

from tests.consumers.conftest import database_url, emptied_url, harness

__all__ = ["database_url", "emptied_url", "harness"]
