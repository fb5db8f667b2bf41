"""What `repoint doctor` asks brokers that are just electing a group's coordinator."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError, TopicAuthorizationFailedError

from ops.doctor.broker_state import BrokerState


class Admin:
    """Raises `error` so many times before it describes a group of two members."""

    def __init__(self, error: KafkaError, times: int) -> None:
        self._error = error
        self._times = times

    async def describe_consumer_groups(self, groups: list[str]) -> list[Any]:
        if self._times:
            self._times -= 1
            raise self._error
        return [SimpleNamespace(groups=[(0, groups[0], "Stable", "consumer", "range", ["one", "two"])])]


async def members(error: KafkaError, times: int) -> int:
    parts: Any = (None, Admin(error, times))
    return await BrokerState(*parts)._members("repoint")


async def test_a_coordinator_that_is_just_elected_is_waited_for() -> None:
    assert await members(GroupCoordinatorNotAvailableError(), 2) == 2


async def test_another_error_is_not() -> None:
    with pytest.raises(TopicAuthorizationFailedError):
        await members(TopicAuthorizationFailedError(), 1)
