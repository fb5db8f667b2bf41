"""Kafka's Metadata request with the topic's id (KIP-516), which aiokafka's own lacks. A topic made anew has a new id.

A broker before Kafka 3.1 knows only version 4, which has no ids.
"""

from io import BytesIO
from typing import ClassVar, TypeAlias
from uuid import UUID

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v4
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_UUID_BYTES = 16
_NO_ID = UUID(int=0)


class _Uuid(AbstractType[UUID]):  # type: ignore[misc] # aiokafka has no types
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(_UUID_BYTES))


class _Response12(Response):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Request12(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    FLEXIBLE_VERSION: ClassVar[bool] = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = _Response12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


_Struct: TypeAlias = MetadataRequest_v4 | _Request12


class TopicRequest(Request[_Struct]):  # type: ignore[misc] # aiokafka has no types
    """Asks about one topic. The broker does not create it."""

    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_Struct]) -> _Struct:
        if request_struct_class is _Request12:
            return _Request12([(_NO_ID, self._topic, {})], False, False, {})  # noqa: FBT003 - aiokafka's structs
        return request_struct_class([self._topic], False)  # noqa: FBT003


def read_topic(response: Response) -> tuple[int, UUID | None, dict[int, int]]:
    """Read the topic of a response: the error code, the id (None without ids), and the leader of each partition."""
    if response.API_VERSION == _Request12.API_VERSION:
        error_code, _, topic_id, _, partitions, *_ = response.topics[0]
    else:
        error_code, _, _, partitions = response.topics[0]
        topic_id = _NO_ID
    leaders = {partition: leader for _, partition, leader, *_ in partitions}
    return error_code, None if topic_id == _NO_ID else topic_id, leaders
