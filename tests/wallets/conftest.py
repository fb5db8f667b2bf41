"""As the tests of consumers: one database, emptied before each test."""

from tests.consumers.conftest import database_url, desk, emptied_url

__all__ = ["database_url", "desk", "emptied_url"]
